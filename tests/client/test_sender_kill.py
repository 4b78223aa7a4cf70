"""Senders that are killed, queues that are shared, hubs that fail in ten ways: shown by counting
in the table of a real hub. Short forms of bench/sender.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.sender import Table, kill_senders, share_queue, through_faults
from tools.hub_process import HubProcess


@pytest.fixture
def table(real_hub: HubProcess) -> Table:
    return Table(real_hub.data_dir)


def url_of(hub: HubProcess) -> str:
    return f"http://127.0.0.1:{hub.port}"


def test_a_killed_sender_loses_nothing_that_was_handed_over(
    real_hub: HubProcess, table: Table, spool_path: Path
) -> None:
    killed = kill_senders(url_of(real_hub), table, 4, spool_path)
    assert killed.handed_over > 20
    assert (killed.missing, killed.twice) == (0, 0)


def test_two_processes_on_one_queue_send_each_entry_once(
    real_hub: HubProcess, table: Table, spool_path: Path
) -> None:
    shared = share_queue(url_of(real_hub), table, 4.0, spool_path)
    assert shared.entries > 50
    assert (shared.missing, shared.repeats) == (0, 0)


def test_everything_acceptable_gets_through_a_hub_that_fails_in_ten_ways(
    real_hub: HubProcess, table: Table, spool_path: Path
) -> None:
    ordeal = through_faults(url_of(real_hub), table, 150, spool_path)
    assert ordeal.requests > 20
    assert (ordeal.missing, ordeal.twice, ordeal.out_of_order) == (0, 0, 0)
    assert ordeal.dead == ordeal.poison > 0
