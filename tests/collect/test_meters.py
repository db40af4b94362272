"""What Prometheus is told, and that the dashboard asks for nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from gym_ray.collect import meters
from gym_ray.collect.meters import COUNTERS, GAUGES, Meters
from gym_ray.collect.tally import EnvironmentTally, Tally, Times
from gym_ray.models.serve.meters import NAMES

DASHBOARD = Path(__file__).parents[2] / "cluster/grafana/gym_ray.json"
Told = dict[tuple[str, ...], float]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    """(name, tag values...) -> what Ray was told in sum (counters) or last (gauges). Ray itself is not needed."""
    values: Told = {}

    class Metric:
        def __init__(self, name: str, description: str, tag_keys: tuple[str, ...]) -> None:
            self.name, self.keys = name, tag_keys

        def _series(self, tags: dict[str, str]) -> tuple[str, ...]:
            assert tuple(tags) == self.keys
            return (self.name, *tags.values())

        def inc(self, value: float, tags: dict[str, str]) -> None:
            values[self._series(tags)] = values.get(self._series(tags), 0.0) + value

        def set(self, value: float, tags: dict[str, str]) -> None:
            values[self._series(tags)] = value

    monkeypatch.setattr(meters, "Counter", Metric)
    monkeypatch.setattr(meters, "Gauge", Metric)
    return values


def tally(scored: int) -> Tally:
    times = Times()
    for number in range(scored):
        times.count(0.2 if number % 2 else 5.0)
    counts = EnvironmentTally(scored=scored, failed=1, reward=-0.5 * scored, kinds={"agent_timeout": 1})
    counts.phases["model"] = times
    return Tally({"math": counts}, completion_tokens=10 * scored, in_flight=3, journal_lag_s=0.1)


def test_counters_grow_by_what_is_new_and_gauges_are_what_is(told: Told) -> None:
    running = Meters("run-1", planned=100)
    running.update(tally(4))
    running.update(tally(6))  # within the same second: not told
    assert told["gym_ray_rollouts", "run-1", "math", "scored"] == 4
    running.update(tally(8), last=True)
    assert told["gym_ray_rollouts", "run-1", "math", "scored"] == 8
    assert told["gym_ray_failures", "run-1", "math", "agent_timeout"] == 1
    assert told["gym_ray_tokens", "run-1", "completion"] == 80
    assert told["gym_ray_reward_sum", "run-1", "math"] == -4.0
    assert told["gym_ray_journal_lag_seconds", "run-1"] == 0.1
    bucket = {
        le: told["gym_ray_phase_seconds_bucket", "run-1", "math", "model", le] for le in ("0.1", "0.3", "10", "+Inf")
    }
    assert bucket == {"0.1": 0, "0.3": 4, "10": 8, "+Inf": 8}
    assert told["gym_ray_phase_seconds_count", "run-1", "math", "model"] == 8
    assert told["gym_ray_phase_seconds_sum", "run-1", "math", "model"] == pytest.approx(20.8)


def test_tallies_of_workers_add_up() -> None:
    whole = Tally()
    whole.add(tally(4))
    whole.add(tally(2))
    counts = whole.environments["math"]
    assert (counts.kinds, counts.phases["model"].counts[3:7]) == ({"agent_timeout": 2}, [3, 0, 0, 3])


def expressions(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node[key] for key in ("expr", "query") if isinstance(node.get(key), str)]
        return own + [one for value in node.values() for one in expressions(value)]
    return [one for value in node for one in expressions(value)] if isinstance(node, list) else []


def test_the_dashboard_asks_for_what_there_is_and_all_of_it() -> None:
    asked = re.findall(r"ray_(gym_ray_\w+)", " ".join(expressions(json.loads(DASHBOARD.read_text()))))
    exported = {f"{name}_total" for name in COUNTERS} | set(GAUGES) | set(NAMES)
    assert set(asked) == exported


def test_the_dashboard_groups_by_labels_that_there_are() -> None:
    labels = {key for _, keys in (*COUNTERS.values(), *GAUGES.values()) for key in keys} | {"run", "app", "WorkerId"}
    text = " ".join(expressions(json.loads(DASHBOARD.read_text())))
    grouped = {label.strip() for group in re.findall(r"by \(([^)]*)\)", text) for label in group.split(",")}
    legends = set(re.findall(r"\{\{(\w+)\}\}", DASHBOARD.read_text()))
    assert grouped | legends <= labels
