"""Uses the client that openapi-python-client generates, as a program would: `use.py URL`."""

from __future__ import annotations

import sys

from telemetry_hub_client import Client  # type: ignore[import-not-found]
from telemetry_hub_client import models as m
from telemetry_hub_client.api.history import chart_job  # type: ignore[import-not-found]
from telemetry_hub_client.api.jobs import (  # type: ignore[import-not-found]
    export_jobs,
    list_job_events,
    list_jobs,
    read_job,
)
from telemetry_hub_client.api.nodes import read_node  # type: ignore[import-not-found]
from telemetry_hub_client.api.registration import (  # type: ignore[import-not-found]
    complete_job,
    register_job,
)
from telemetry_hub_client.api.rules import list_rules, put_rule  # type: ignore[import-not-found]
from telemetry_hub_client.api.service import read_health  # type: ignore[import-not-found]
from telemetry_hub_client.api.snapshots import push_snapshots  # type: ignore[import-not-found]
from telemetry_hub_client.api.telemetry import push_batch, push_update  # type: ignore[import-not-found]

client = Client(base_url=sys.argv[1])

assert isinstance(read_health.sync(client=client), m.Health)

# A job, from its registration to its end. What is not known yet is null.
registration = m.Registration(job_id="job-1", job_type="backup", vm_name="vm1", total_bytes=1000)
job = register_job.sync(client=client, body=registration)
assert isinstance(job, m.Job)
assert (job.vm_name, job.ended_by, job.result, job.hub_eta) == ("vm1", None, None, None)
update = m.Update(status=m.UpdateStatus.RUNNING, bytes_transferred=500)
receipt = push_update.sync("backup", "job-1", client=client, body=update)
assert isinstance(receipt, m.Receipt)
assert receipt.applied
[listed] = list_jobs.sync(client=client, status="running").items
assert (listed.job_id, listed.ended_by, listed.bytes_transferred) == ("job-1", None, 500)
assert complete_job.sync(
    "job-1", client=client, body=m.Completion(status=m.CompletionStatus.COMPLETED)
).applied
job = read_job.sync("job-1", client=client)
assert (job.status, job.ended_by, job.thresholds.schedule.value) == ("completed", "sender", None)
assert list_job_events.sync("job-1", client=client).items[-1].to_status == "completed"
chart = chart_job.sync("job-1", client=client, points=100)
assert isinstance(chart, m.History)
assert chart.chart_data[0].b == 500
assert export_jobs.sync(client=client).splitlines()[1].split(",")[1] == "job-1"

# Many at once; a bad one is refused alone.
good = m.BatchItem(job_type="backup", job_id="job-2", status=m.BatchItemStatus.RUNNING)
bad = m.BatchItem(job_type="Backup!", job_id="job-3", status=m.BatchItemStatus.RUNNING)
batch = push_batch.sync(client=client, body=m.UpdateBatch(updates=[good, bad]))
assert (batch.accepted, batch.rejected[0].index) == (1, 1)

snapshots = m.SnapshotBatch(snapshots=[m.Snapshot(node_id="node-1", cpu_percent=41.5)])
assert push_snapshots.sync(client=client, body=snapshots).accepted == 1
node = read_node.sync("node-1", client=client)
assert (node.cpu_percent, node.memory_percent) == (41.5, None)

rule = m.RuleBody(match=m.Match(vm_name="pg-*"), settings=m.Settings(stall_after_seconds=600))
assert put_rule.sync(client=client, body=rule).settings.stall_after_seconds == 600
assert list_rules.sync(client=client).items[0].match.vm_name == "pg-*"

# A refusal names the field.
answer = read_job.sync_detailed("job-4", client=client)
assert (answer.status_code, type(answer.parsed)) == (404, m.Problem)
