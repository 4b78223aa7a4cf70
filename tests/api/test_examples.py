"""Each operation of the OpenAPI document has an id, a described answer, and an example that works.

The examples are files in `app/api/examples`, named by the operation. All of them are sent here, in
an order in which they make sense, and the answers compared with the documented ones. For a new
operation write a file with its `parameters` and `body`, let WRITE_EXAMPLES=1 add the answer, and
read what it wrote.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from flask import Flask
from flask.testing import FlaskClient
from jsonschema_rs import validator_for
from werkzeug.test import TestResponse

from app.api.description import EXAMPLES, read_example
from app.api.factory import make_routes
from app.clock import utc_now
from app.config import Config
from app.database.pool import Database
from app.store.node_states import mark_nodes_offline
from app.store.staleness import StatusChange
from jobs import find_attention, judge_runs

Operation = dict[str, Any]

# What clients of earlier versions call: none may go, and a new one need not be added.
PROMISED = """
    acknowledgeAttention chartJob chartNode completeJob deleteRule endMaintenance exportAttention
    exportJobChart exportJobRuns exportJobUpdates exportJobs exportNodes exportSeries listAttention
    listJobEvents listJobRuns listJobUpdates listJobs listMachines listMaintenance listNodeEvents
    listNodes listRules listSeries planMaintenance pushBatch pushSnapshots pushUpdate putRule
    readAttention readHealth readJob readMetrics readNode readOpenapi readSeries readSession
    registerJob summariseJobs
"""
# These are sent first and last, in this order; of the others those that write before those that
# read.
FIRST = ["registerJob", "pushUpdate", "pushBatch", "pushSnapshots"]
THEN = ["putDestination", "putRoute", "testDestination"]
LAST = [
    *("completeJob", "endMaintenance", "deleteRule"),
    *("ping", "pingByPost", "pingSignal", "pingSignalByPost"),
    *("retryMessage", "deleteRoute", "deleteDestination"),
]
CREATED = {
    "putRule": "rule_id",
    "planMaintenance": "window_id",
    "putDestination": "destination_id",
    "putRoute": "route_id",
    "testDestination": "message_id",
}  # what their answers have the id of
NODE = "vm-host-7"  # of the example of pushSnapshots
# Their examples show a part of the answer.
IN_PART = {"readMetrics", "readOpenapi"}
# Not compared: of the machine, and of the day.
NOT_COMPARED = {"readHealth", "listNights", "exportNights"}
# What differs from hub to hub, and from one time to the next: numbers by the names of their fields,
# and in texts ids and instants.
VARYING = re.compile(r"(.*_)?(id|seconds|t|bps)|s|s_min|s_max|signing_secret")
VARYING_TEXT = re.compile(r"series:\d+|\d{4}-\d\d-\d\dT[\d:.]+Z")


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return describe(make_routes(requires_tokens=False))


def describe(app: Flask) -> dict[str, Any]:
    """The application's OpenAPI document, as it is sent."""
    api = app.extensions["flask-smorest"]["apis"][""]["ext_obj"]
    written: dict[str, Any] = json.loads(json.dumps(api.spec.to_dict()))
    return written


@pytest.fixture(scope="module")
def operations(document: dict[str, Any]) -> dict[str, Operation]:
    """Every operation by its id, with its path and its method."""
    return {each["operationId"]: each for each in _each_operation(document)}


def _each_operation(document: dict[str, Any]) -> Iterator[Operation]:
    for path, item in document["paths"].items():
        for method in item.keys() - {"parameters"}:
            parameters = item.get("parameters", []) + item[method].get("parameters", [])
            yield {**item[method], "path": path, "method": method, "parameters": parameters}


# The document.


def test_every_operation_has_an_id_of_its_own(document: dict[str, Any]) -> None:
    ids = Counter(each["operationId"] for each in _each_operation(document))
    assert [name for name, count in ids.items() if count > 1] == []
    assert all(re.fullmatch(r"[a-z][A-Za-z0-9]+", name) for name in ids)


def test_no_operation_of_an_earlier_version_is_gone(operations: dict[str, Operation]) -> None:
    assert set(PROMISED.split()) - operations.keys() == set()


def test_every_answer_is_one_media_type(operations: dict[str, Operation]) -> None:
    for name, operation in operations.items():
        for status, response in operation["responses"].items():
            assert len(response.get("content", {})) <= 1, (name, status)


def test_every_field_of_an_answer_is_required_or_named_as_optional(
    document: dict[str, Any], operations: dict[str, Operation]
) -> None:
    """A schema of answers derives from AnswerSchema; one of requests in an answer is named here."""
    optional = {"Problem": {"errors"}, "History": {"disk"}, "HistoryColumns": {"disk"}}
    optional["Destination"] = {"signing_secret"}
    of_requests = {"Registration", "RegisteredDisk", "Match", "Settings"}
    schemas = document["components"]["schemas"]
    found: set[str] = set()
    for operation in operations.values():
        _collect(operation["responses"], document, found)
    assert len(found) > 40
    for name in found - of_requests:
        missing = schemas[name]["properties"].keys() - set(schemas[name].get("required", ()))
        assert missing == optional.get(name, set()), name


def _collect(node: Any, document: dict[str, Any], found: set[str]) -> None:
    """The names of all schemas that something refers to, also indirectly."""
    for each in _walk(node):
        kind, _, name = str(each.get("$ref", "")).removeprefix("#/components/").partition("/")
        if name and name not in found:
            if kind == "schemas":
                found.add(name)
            _collect(document["components"][kind][name], document, found)


def _walk(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
    for child in node.values() if isinstance(node, dict) else node:
        if isinstance(child, dict | list):
            yield from _walk(child)


def test_null_is_a_value_of_every_nullable_enumeration(document: dict[str, Any]) -> None:
    """And `enum` stands alone: of a list of types beside it, clients make each value twice."""
    enumerations = [each for each in _walk(document) if isinstance(each.get("enum"), list)]
    assert [each for each in enumerations if isinstance(each.get("type"), list)] == []
    assert sum(None in each["enum"] for each in enumerations) > 5


@pytest.mark.parametrize("requires_tokens", [True, False])
def test_clients_can_send_a_token_to_every_hub(requires_tokens: bool) -> None:
    document = describe(make_routes(requires_tokens=requires_tokens))
    assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    schemes: list[dict[str, list[str]]] = [{"token": []}, {"password": []}, {"key": []}]
    assert document["security"] == (schemes if requires_tokens else [*schemes, {}])


# The examples.


def test_every_operation_has_an_example_and_every_example_an_operation(
    operations: dict[str, Operation],
) -> None:
    assert {path.stem for path in EXAMPLES.iterdir()} == operations.keys()
    for name, operation in operations.items():
        example = read_example(name)
        shown = {each["name"] for each in operation["parameters"] if "example" in each}
        assert shown == example.get("parameters", {}).keys(), name
        assert all(
            each["name"] in shown for each in operation["parameters"] if each["in"] == "path"
        )
        assert ("requestBody" in operation) == ("body" in example), name
        assert ("answer" in example) == any(
            "content" in response
            for status, response in operation["responses"].items()
            if status.startswith("2")
        ), name


def test_every_example_works(
    client: FlaskClient,
    owner: Database,
    config: Config,
    document: dict[str, Any],
    operations: dict[str, Operation],
) -> None:
    """In one test, as they build on each other."""
    others = sorted(
        operations.keys() - {*FIRST, *THEN, *LAST},
        key=lambda name: operations[name]["method"] == "get",
    )
    ids: dict[str, int] = {}
    differences = []
    for name in [*FIRST, *THEN, *others, *LAST]:
        answer = _send(client, operations[name], ids)
        found = answer.get_json() if answer.is_json else answer.get_data(as_text=True)
        assert 200 <= answer.status_code < 300, (name, found)
        _validate(document, operations[name], answer, found)
        if "WRITE_EXAMPLES" in os.environ and name not in IN_PART:
            _write(name, found)
        expected = read_example(name).get("answer", "")
        _validate(document, operations[name], answer, expected)
        if answer.mimetype == "text/csv":
            found, expected = (
                list(csv.DictReader(io.StringIO(text))) for text in (found, expected)
            )
        is_like = _is_like(found, expected, is_part=name in IN_PART)
        if not is_like and name not in NOT_COMPARED:
            differences.append((name, found))
        if name == FIRST[-1]:
            ids |= _let_tasks_look(client, owner, config)
            _send(client, operations[name], ids)
        if name == THEN[-1]:
            _give_up(owner)
        if name in CREATED and isinstance(found, dict):
            ids[CREATED[name]] = found["id"]
    assert differences == []


def _send(client: FlaskClient, operation: Operation, ids: dict[str, int]) -> TestResponse:
    """Send an operation's example. Ids that a hub gives are those of `ids`."""
    path, query = operation["path"], {}
    for parameter in operation["parameters"]:
        if "example" in parameter:
            name = parameter["name"]
            value = ids.get(name, parameter["example"])
            if parameter["in"] == "path":
                path = path.replace(f"{{{name}}}", quote(str(value), safe=""))
            else:
                query[name] = value
    content = operation.get("requestBody", {}).get("content", {})
    body = content.get("application/json", {}).get("example")
    return client.open(f"{path}?{urlencode(query)}", method=operation["method"], json=body)


def _let_tasks_look(client: FlaskClient, owner: Database, config: Config) -> dict[str, int]:
    """What tasks do meanwhile: place the runs in series, find what has failed, miss the node."""
    now = utc_now()
    judge_runs.run_once(owner, config, now)
    find_attention.run_once(owner, config, now)
    with owner.transaction() as conn:
        mark_nodes_offline(conn, [NODE], StatusChange(now, now, 90, "No snapshot for 1m30s"))
    [item] = client.get("/api/v1/attention?kind=failed").get_json()["items"]
    [series] = client.get("/api/v1/series?vm_name=vm1").get_json()["items"]
    return {"item_id": item["id"], "series_id": series["id"]}


def _give_up(owner: Database) -> None:
    """As the task does when a message could not be delivered for a day."""
    with owner.transaction() as conn:
        conn.execute("UPDATE notifications SET state = 'dead', settled_at = now(), attempts = 9")


def _validate(
    document: dict[str, Any], operation: Operation, answer: TestResponse, body: Any
) -> None:
    """Raise if an answer is not as described."""
    content = operation["responses"][str(answer.status_code)].get("content", {})
    if not content:
        assert body == ""
        return
    schema = content[answer.mimetype]["schema"]
    validator_for({**schema, "components": document["components"]}).validate(body)


def _write(name: str, answer: Any) -> None:
    example = read_example(name) | ({"answer": answer} if answer != "" else {})
    text = json.dumps(example, indent=2, ensure_ascii=False)
    (EXAMPLES / f"{name}.json").write_text(f"{text}\n", encoding="utf-8")


def _is_like(found: Any, expected: Any, *, is_part: bool = False, name: str = "") -> bool:
    """Whether an answer is the documented one, but for what varies; or `expected` is part of it."""
    if isinstance(expected, dict) and isinstance(found, dict):
        names = expected.keys()
        return (names <= found.keys() if is_part else names == found.keys()) and all(
            _is_like(found[each], value, is_part=is_part, name=each)
            for each, value in expected.items()
        )
    if isinstance(expected, list) and isinstance(found, list):
        return len(found) == len(expected) and all(
            _is_like(*pair, is_part=is_part, name=name)
            for pair in zip(found, expected, strict=True)
        )
    if isinstance(expected, str) and isinstance(found, str):
        if VARYING.fullmatch(name) or (is_part and expected in found):
            return True
        return VARYING_TEXT.sub("…", found) == VARYING_TEXT.sub("…", expected)
    if VARYING.fullmatch(name) and not isinstance(expected, bool):
        return isinstance(found, int | float) == isinstance(expected, int | float)
    return bool(found == expected)
