"""The text formats of metrics, read back by prometheus_client's parsers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_prometheus

from app import metrics
from app.metrics.text import Family, format_families, label_text

FAMILIES = [
    Family("hub_up", "gauge", "Whether it is up.", [("", True)]),
    Family("hub_ends_total", "counter", "Ends.", [(label_text(kind="a", by="b"), 2**53 - 1)]),
]
PARSERS: dict[bool, Callable[[str], Any]] = {False: parse_prometheus, True: parse_openmetrics}
Samples = dict[str, list[tuple[dict[str, str], float]]]


def read_back(families: list[Family], *, is_openmetrics: bool) -> Samples:
    """The samples by name, as a scraper reads them."""
    text = format_families(families, is_openmetrics=is_openmetrics)
    found: Samples = {}
    for family in PARSERS[is_openmetrics](text + ("# EOF\n" if is_openmetrics else "")):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


@pytest.mark.parametrize("is_openmetrics", [False, True])
def test_both_formats_have_the_same_samples(is_openmetrics: bool) -> None:
    assert read_back(FAMILIES, is_openmetrics=is_openmetrics) == {
        "hub_up": [({}, 1.0)],
        "hub_ends_total": [({"kind": "a", "by": "b"}, 2.0**53 - 1)],
    }


@pytest.mark.parametrize("is_openmetrics", [False, True])
@pytest.mark.parametrize(
    "value",
    ['a"b', "a\\b", "a\\nb", "line\nbreak", "ü 漢 \N{PARTY POPPER}", '",x="', "} 1", "\\", ""],
)
def test_any_text_is_a_label(value: str, is_openmetrics: bool) -> None:
    families = [Family("hub_x", "gauge", "X.", [(label_text(name=value, other="o"), 1)])]
    [(labels, _)] = read_back(families, is_openmetrics=is_openmetrics)["hub_x"]
    assert labels == {"name": value, "other": "o"}


@pytest.mark.parametrize(
    ("accepted", "is_openmetrics"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain;version=0.0.4", False),
        ("application/openmetrics-text; version=1.0.0", True),
        # Prometheus 2.42.
        (
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;"
            "version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            True,
        ),
    ],
)
def test_the_client_chooses_the_format(accepted: str, is_openmetrics: bool) -> None:
    body, content_type = metrics.expose(accepted, FAMILIES)
    text = body.decode()
    assert content_type.startswith(metrics.OPENMETRICS if is_openmetrics else "text/plain")
    assert text.count("# EOF") == int(is_openmetrics)
    assert text.endswith("# EOF\n") == is_openmetrics
    assert "_created" not in text
    names = [family.name for family in PARSERS[is_openmetrics](text)]
    assert len(names) == len(set(names))
    assert {"hub_up", "hub_updates", "process_resident_memory_bytes"} <= set(names)
