"""The simulated senders say what real ones could, and their jobs end as scripted."""

from __future__ import annotations

import argparse
import itertools
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from app.clock import isoformat
from app.commands import demo
from app.commands.simulation import (
    MB,
    NODES,
    PAUSE_SECONDS,
    PUSH_SECONDS,
    Fate,
    Senders,
    SimulatedJob,
    plan_history,
    plan_job,
    plan_live,
    pushes,
    snapshots,
    speeds,
    updates,
)
from app.config import Config
from app.domain.updates import Update
from app.schemas.decode import decode_batch, decode_update
from app.schemas.nodes import SnapshotSchema
from app.schemas.updates import CompletionSchema, RegistrationSchema, UpdateSchema

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
PHASES = ["snapshot", "transferring", "finalizing"]


def make_job(fate: Fate = "completed", minutes: float = 10) -> SimulatedJob:
    return plan_job(random.Random(1), "pgprod1", NOW, minutes, fate)


def bodies(fate: Fate = "completed") -> list[dict[str, Any]]:
    return list(updates(make_job(fate), seed=1))


@pytest.mark.parametrize("job", plan_history(1, NOW) + plan_live(1, NOW, 1), ids=lambda j: j.job_id)
def test_every_update_is_what_the_hub_accepts(job: SimulatedJob) -> None:
    schema = UpdateSchema()
    sent = list(updates(job, seed=1))
    for body in sent[:30] + sent[-30:]:
        assert schema.validate({**body, "timestamp": isoformat(NOW)}) == {}


def test_updates_are_of_the_common_form_that_is_decoded_fast() -> None:
    for body in bodies("failed"):
        assert decode_update(orjson.dumps(body), "backup", "j").status == body["status"]


def test_phases_come_in_order() -> None:
    phases = [phase for phase, _ in itertools.groupby(body["current_phase"] for body in bodies())]
    assert phases == PHASES


def test_percent_rises_from_0_to_100() -> None:
    percents = [body["progress_percent"] for body in bodies()]
    assert percents == sorted(percents)
    assert (percents[0], percents[-1]) == (0, 100)


def test_no_percent_is_100_before_all_bytes_are_done() -> None:
    for body in bodies():
        is_whole = body["bytes_transferred"] == body["total_bytes"]
        assert (body["progress_percent"] == 100) == is_whole


def test_speeds_are_realistic_and_agree_with_the_bytes() -> None:
    sent = bodies()
    for before, after in itertools.pairwise(sent):
        moved = after["bytes_transferred"] - before["bytes_transferred"]
        assert after["transfer_speed_bps"] == moved // PUSH_SECONDS
        assert after["transfer_speed_bps"] <= 500 * MB


def test_speeds_dip_now_and_then() -> None:
    drawn = list(itertools.islice(speeds(300 * MB, random.Random(1)), 1000))
    assert 0 < sum(speed < 150 * MB for speed in drawn[5:]) < 300


def test_the_disks_add_up_to_the_job() -> None:
    disks: dict[int, int] = {}
    for body in bodies():
        for disk in body.get("disks", []):
            disks[disk["disk_index"]] = disk["bytes_transferred"]
        assert sum(disks.values()) == body["bytes_transferred"]


def test_disks_complete_at_different_times() -> None:
    job = SimulatedJob("backup", "vm", "repo", NOW, (10**10, 3 * 10**10, 2 * 10**10), 200 * MB)
    completed = [
        (step, disk["disk_index"])
        for step, body in enumerate(updates(job, seed=1))
        for disk in body.get("disks", [])
        if disk["status"] == "completed"
    ]
    assert len({step for step, _ in completed}) == 3


def test_an_update_stays_below_a_kilobyte() -> None:
    assert max(len(orjson.dumps(body)) for body in bodies()) < 1024


@pytest.mark.parametrize("fate", ["completed", "failed", "cancelled"])
def test_a_job_ends_as_scripted_and_says_it_once(fate: Fate) -> None:
    statuses = [body["status"] for body in bodies(fate)]
    assert statuses[-1] == fate
    assert set(statuses[:-1]) == {"running"}


def test_a_failed_job_says_why_and_on_which_disk() -> None:
    last = bodies("failed")[-1]
    failed = [disk for disk in last["disks"] if disk["status"] == "failed"]
    assert failed[0]["error_message"] in last["error"]


def test_a_quiet_sender_says_no_end() -> None:
    assert {body["status"] for body in bodies("quiet")} == {"running"}


def test_an_old_client_registers_and_completes_without_telemetry() -> None:
    old = plan_live(1, NOW, 1)[-1]
    requests = [push for push in pushes(old, seed=1) if push is not None]
    assert [path for path, _ in requests] == ["/jobs", f"/jobs/{old.job_id}/complete"]
    assert RegistrationSchema().validate(requests[0][1]) == {}
    assert CompletionSchema().validate(requests[1][1]) == {}


def test_the_same_seed_says_the_same() -> None:
    first, second, other = ([list(updates(j, s)) for j in plan_history(s, NOW)] for s in (1, 1, 2))
    assert first == second
    assert first != other


def test_the_history_is_over_before_now_and_within_a_day() -> None:
    for job in plan_history(3, NOW):
        last = len(list(updates(job, 3))) * PUSH_SECONDS
        assert NOW - timedelta(hours=24) <= job.started_at
        assert job.started_at + timedelta(seconds=last) < NOW


def test_the_live_cast_shows_everything_that_can_happen() -> None:
    jobs = plan_live(1, NOW, 1)
    assert {job.fate for job in jobs} == {"completed", "failed", "cancelled", "quiet"}
    assert {job.job_type for job in jobs} == {"backup", "replication", "restore"}
    assert [job.has_telemetry for job in jobs].count(False) == 1


def test_the_past_of_the_live_jobs_ends_now_and_leaves_the_rest_to_say() -> None:
    senders = Senders(1, NOW)
    past = list(senders.past(NOW))
    assert max(at for at, _, _ in past) < NOW
    assert {body["status"] for _, _, body in past} == {"running"}
    assert len(senders.tick(NOW)) == len(senders.jobs)


def test_a_machine_goes_on_with_another_job_and_a_quiet_one_does_not() -> None:
    senders = Senders(1, NOW, shorter=10)
    list(senders.past(NOW))
    paths: set[str] = set()
    for tick in range(3 * PAUSE_SECONDS // PUSH_SECONDS + 60):
        at = NOW + timedelta(seconds=tick * PUSH_SECONDS)
        paths.update(path for path, _ in senders.tick(at))
    assert senders.quiet_count == 1
    assert sum("backup-erp-app" in path for path in paths) == 1
    assert sum("backup-fileserver" in path for path in paths) > 1


def test_snapshots_are_what_the_hub_accepts() -> None:
    schema = SnapshotSchema()
    for node_id in NODES:
        for body in itertools.islice(snapshots(node_id, seed=1), 400):
            assert schema.validate({**body, "timestamp": isoformat(NOW)}) == {}


def test_a_backfilled_batch_is_taken_whole() -> None:
    job = make_job()
    items = [{"job_id": job.job_id, "job_type": job.job_type, **body} for body in bodies()]
    decoded = decode_batch(orjson.dumps({"updates": items}), is_ndjson=False)
    assert all(isinstance(item, Update) for item in decoded)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "127.0.0.1:8082"])
def test_without_a_hub_it_says_so_in_one_sentence(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser()
    demo.add_arguments(parser)
    assert demo.run(Config(), parser.parse_args(["--url", url])) == 1
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
