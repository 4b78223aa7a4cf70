"""A small fleet of bench/attention.py: what is planted is found and told, and little else."""

from __future__ import annotations

import pytest

from bench.attention import simulate, tell


@pytest.mark.parametrize("is_down_at_night", [False, True])
def test_every_trouble_of_a_fleet_is_found_with_few_false_alarms(is_down_at_night: bool) -> None:
    balance = simulate(14, 60, seed=1, is_down_at_night=is_down_at_night)
    assert sum(balance.planted.values()) >= 15
    assert balance.missed == []
    # Of so few machines a single alarm is a large rate.
    assert len(balance.false) <= 3, [alarm for _, alarm in balance.false]
    told = tell(balance)
    assert told.wrong == []  # each is one message, and its end another one
    assert told.messages <= 2 * sum(len(found) for found in balance.changes.values())
