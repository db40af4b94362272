"""A run's directory as a reader sees it: what was asked for, how far it got, what came out.

Reads small files only (``config.yaml``, ``journal/plan.json``, ``manifest.json``, ``metrics.json``), so that
listing a folder of large runs is quick.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import orjson
import yaml

from gym_ray.collect.rundir import CONFIG, JOURNAL, MANIFEST, METRICS, RunDir
from gym_ray.types.errors import UserError


class State(StrEnum):
    """complete: every planned rollout has a verdict. partial: shards hold what there was when it was stopped.
    unfinished: no shards yet, the run goes on or was killed. planned: not even begun."""

    COMPLETE = "complete"
    PARTIAL = "partial"
    UNFINISHED = "unfinished"
    PLANNED = "planned"


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run. The four parts are the files' content; a file that is not there yet is empty."""

    address: str
    state: State
    config: dict[str, Any]
    plan: dict[str, Any]
    manifest: dict[str, Any]
    metrics: dict[str, Any]

    @property
    def environments(self) -> dict[str, dict[str, Any]]:
        """``metrics.json`` by environment; empty while there are no shards."""
        found: dict[str, dict[str, Any]] = self.metrics.get("environments", {})
        return found

    @property
    def expected(self) -> int:
        """Planned rollouts, 0 while there is no plan."""
        return int(self.plan.get("rollouts") or self.metrics.get("rollouts", {}).get("expected", 0))

    @property
    def finished(self) -> int:
        """Rollouts in the shards, failed ones counted."""
        counts = self.metrics.get("rollouts", {})
        return sum(counts.get(outcome, 0) for outcome in ("scored", "masked", "failed"))

    @property
    def mean_reward(self) -> float | None:
        """Mean over all scored rollouts of all environments; None when there are none."""
        scored = sum(its["scored"] for its in self.environments.values())
        total = sum(its["scored"] * its["reward"]["mean"] for its in self.environments.values() if its["reward"])
        return total / scored if scored else None


def read_run(address: str) -> RunRecord:
    """One run.

    Raises:
        UserError: there is none, or one of its files is damaged.
    """
    run = RunDir.open(address)
    try:
        config = yaml.safe_load(run.read(CONFIG)) or {}
        parts = [run.read_json(part) or {} for part in (f"{JOURNAL}/plan.json", MANIFEST, METRICS)]
    except (orjson.JSONDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{address}: a damaged file: {' '.join(str(error).split())[:300]}") from error
    plan, manifest, metrics = parts
    return RunRecord(address, _state(run, manifest), config, plan, manifest, metrics if manifest else {})


def list_runs(folder: str) -> list[RunRecord]:
    """The runs directly in ``folder``, newest first; what is no run is left out.

    Raises:
        UserError: no such folder.
    """
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise UserError(f"no folder {folder}")
    paths = [path for path in root.iterdir() if (path / CONFIG).is_file()]
    paths.sort(key=lambda path: (path / CONFIG).stat().st_mtime, reverse=True)
    return [read_run(str(path)) for path in paths]


def _state(run: RunDir, manifest: dict[str, Any]) -> State:
    if manifest:
        return State.COMPLETE if manifest.get("complete") else State.PARTIAL
    return State.UNFINISHED if run.names(JOURNAL, ".seg") else State.PLANNED
