"""A run's directory as a reader sees it: what was asked for, how far it got, what came out.

Reads small files only (``config.yaml``, ``journal/plan.json``, ``manifest.json``, ``metrics.json``), so that
listing a folder of large runs is quick.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson
import yaml
from pyarrow import fs

from gym_ray.collect.rundir import CONFIG, JOURNAL, MANIFEST, METRICS, RunDir, cause
from gym_ray.types.errors import UserError


class State(StrEnum):
    """complete: every planned rollout has a verdict. partial: shards hold what there was when it was stopped.
    unfinished: no shards yet, the run goes on or was killed. planned: not even begun. damaged: a file of it cannot
    be read (in listings only)."""

    COMPLETE = "complete"
    PARTIAL = "partial"
    UNFINISHED = "unfinished"
    PLANNED = "planned"
    DAMAGED = "damaged"


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


def check_environments(names: Iterable[str], setting: str, *addresses: str) -> None:
    """See to it that each of ``names``, which ``setting`` gave, is an environment of one of the runs.

    Raises:
        UserError: one is not.
    """
    known: dict[str, None] = {}
    for address in addresses:
        record = read_run(address)
        known |= dict.fromkeys([*(record.config.get("envs") or {}), *record.environments])
    for name in names:
        if known and name not in known:
            raise UserError(
                f"{setting}: no environment `{name}` in {' or '.join(addresses)}; it has {', '.join(known)}"
            )


def list_runs(folder: str) -> list[RunRecord]:
    """The runs directly in ``folder``, on any filesystem, newest first; what is no run is left out.

    Raises:
        UserError: no such folder, or it cannot be reached.
    """
    root = RunDir(folder)  # A RunDir is any folder.
    try:
        inside = root.filesystem.get_file_info(fs.FileSelector(root.path("")))
        folders = [info.base_name for info in inside if info.type == fs.FileType.Directory]
        configs = root.filesystem.get_file_info([root.path(f"{name}/{CONFIG}") for name in folders])
    except OSError as error:
        raise UserError(f"no folder {folder}: {cause(error)}") from error
    found = [(info.mtime_ns or 0, name) for info, name in zip(configs, folders, strict=True) if info.size is not None]
    return [_listed(f"{folder.rstrip('/')}/{name}") for _, name in sorted(found, reverse=True)]


def _listed(address: str) -> RunRecord:
    try:
        return read_run(address)
    except UserError:
        return RunRecord(address, State.DAMAGED, {}, {}, {}, {})


def _state(run: RunDir, manifest: dict[str, Any]) -> State:
    if manifest:
        return State.COMPLETE if manifest.get("complete") else State.PARTIAL
    return State.UNFINISHED if run.names(JOURNAL, ".seg") else State.PLANNED
