"""The end of a run: from the journal to shards, metrics and a manifest.

The journal is the truth, and stays: shards are a pure function of it. So finalising can be repeated at any
time, whatever killed it before, and a finished run can take on more rollouts per task, further tasks, or
other formats: its shards are then made anew. Once a run is to be read only, ``journal/`` may be removed;
such a run refuses to be gone on with.

Order of events: read the journal; if the manifest speaks of the same records, nothing is left to do; else
remove it (a run with a manifest has whole shards, always), write shards (a Ray Data job, one task per
shard), remove files of earlier attempts, write ``metrics.json``, and the manifest last, by rename.
"""

from __future__ import annotations

import hashlib
import pickle
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np
import orjson
import ray

from gym_ray.collect.config import CollectConfig, RunConfig
from gym_ray.collect.journal.frames import OUTCOME_CODES
from gym_ray.collect.journal.index import JournalIndex, scan
from gym_ray.collect.output.metrics import Totals, merged
from gym_ray.collect.output.shards import ShardPlan, ShardResult, plan_shards, write_shard
from gym_ray.collect.rundir import FAILURES, MANIFEST, METRICS, ROLLOUTS, RunDir
from gym_ray.types.errors import UserError
from gym_ray.types.outcome import Outcome

MANIFEST_VERSION = 1


class Expected(Protocol):
    """What finalising must know of a plan."""

    @property
    def rollouts(self) -> int:
        """Rollouts that the run is to hold."""
        ...


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run holds. ``environments``: as in ``metrics.json``. ``files``: as in the manifest.

    ``missing``: planned rollouts without a final record (an interrupted run). ``duplicates``: records that
    another of the same key made superfluous. ``damage``: one line per damaged journal file.
    """

    run: str
    expected: int
    scored: int
    masked: int
    failed: int
    missing: int
    duplicates: int
    environments: dict[str, Any]
    files: list[dict[str, Any]]
    damage: list[str] = field(default_factory=list)
    interrupted: bool = False

    @property
    def finished(self) -> int:
        """Rollouts with a final record."""
        return self.scored + self.masked + self.failed

    @property
    def failed_fraction(self) -> float:
        """Failed rollouts as a share of the finished ones."""
        return self.failed / self.finished if self.finished else 0.0

    def report(self) -> str:
        """Conservation, in one line."""
        line = f"{self.expected:,} planned = {self.scored:,} scored + {self.masked:,} masked + {self.failed:,} failed"
        return line + (f" + {self.missing:,} missing" if self.missing else "")


def finalize(run: RunDir, config: RunConfig, plan: Expected) -> Summary:
    """Make the run's shards, metrics and manifest from what its journal holds now.

    An interrupted run gets them too, with ``complete: false``. Runs its shards as a Ray Data job when Ray is
    up and there are several, else one after the other in this process.

    Raises:
        UserError: the filesystem refuses, a journal record is damaged, or the run holds more than its plan.
    """
    index = scan(run)
    if len(index.done) > plan.rollouts:
        raise UserError(f"{run.address} holds {len(index.done):,} rollouts, its plan has {plan.rollouts:,}")
    source = _fingerprint(index, config, plan.rollouts)
    known: dict[str, Any] | None = run.read_json(MANIFEST)
    if known is not None and known["source"] == source and _is_whole(run, known["files"]):
        environments = (run.read_json(METRICS) or {})["environments"]
        return Summary(run.address, **known["summary"], environments=environments, files=known["files"])
    run.remove(MANIFEST)
    results = _write(run, list(plan_shards(index, config.collect.rows_per_shard)), config.collect)
    totals = merged(result.totals for result in results)
    files = [asdict(made) for result in results for made in result.files]
    _remove_strangers(run, {made["path"] for made in files})
    summary = _summary(run, index, plan.rollouts, totals, files)
    _publish(run, summary, source, config)
    return summary


def unfinished(run: RunDir, plan: Expected) -> Summary:
    """What the run's journal holds now, of all parts; nothing is made of it."""
    index = scan(run, verify=False)
    counts = np.bincount(index.done.where["outcome"], minlength=len(OUTCOME_CODES))
    scored, masked, failed = (int(counts[OUTCOME_CODES[outcome]]) for outcome in Outcome)
    missing = plan.rollouts - len(index.done)
    return Summary(run.address, plan.rollouts, scored, masked, failed, missing, index.duplicates, {}, [], index.damage)


def _summary(run: RunDir, index: JournalIndex, expected: int, totals: Totals, files: list[dict[str, Any]]) -> Summary:
    counts = {outcome: sum(its.outcomes[outcome] for its in totals.values()) for outcome in Outcome}
    written = sum(counts.values())
    if written != len(index.done):
        raise RuntimeError(f"shards hold {written:,} rollouts, the journal {len(index.done):,}")
    environments = {name: its.summary() for name, its in totals.items()}
    missing = expected - written
    outcomes = counts[Outcome.SCORED], counts[Outcome.MASKED], counts[Outcome.FAILED]
    return Summary(run.address, expected, *outcomes, missing, index.duplicates, environments, files, index.damage)


def _publish(run: RunDir, summary: Summary, source: str, config: RunConfig) -> None:
    facts = asdict(summary)
    environments, files = facts.pop("environments"), facts.pop("files")
    del facts["run"], facts["interrupted"]
    metrics = {"rollouts": {name: facts[name] for name in _COUNTS}, "environments": environments}
    run.write(METRICS, orjson.dumps(metrics, option=orjson.OPT_INDENT_2))
    manifest = {
        "version": MANIFEST_VERSION,
        "complete": summary.missing == 0,
        "made": time.time(),
        "summary": facts,
        "files": files,
        "allow_unsafe": _unsafe(config),
        "source": source,
        "recorded": _recorded(config.recorded),
    }
    run.write(MANIFEST, orjson.dumps(manifest, option=orjson.OPT_INDENT_2))


def _recorded(address: str | None) -> dict[str, Any] | None:
    """The run whose trajectories were verified again, and its own ``source``; None when they are the run's own."""
    if address is None:
        return None
    return {"run": address, "source": (RunDir(address).read_json(MANIFEST) or {}).get("source")}


def _unsafe(config: RunConfig) -> list[str]:
    """Environments that were allowed to run programs without isolation."""
    sandboxes = {name: one.options.get("sandbox") or {} for name, one in config.envs.items()}
    return sorted(name for name, sandbox in sandboxes.items() if sandbox.get("allow_unsafe"))


_COUNTS = ("expected", "scored", "masked", "failed", "missing")


def _fingerprint(index: JournalIndex, config: RunConfig, expected: int) -> str:
    """Equal when the shards would be."""
    facts = [MANIFEST_VERSION, index.files, config.collect.formats, config.collect.rows_per_shard, expected]
    digest = hashlib.sha256(orjson.dumps(facts))
    digest.update(index.done.keys.tobytes())
    digest.update(index.done.where.tobytes())
    return digest.hexdigest()


def _is_whole(run: RunDir, files: list[dict[str, Any]]) -> bool:
    """Whether all files are there, in full."""
    infos = run.filesystem.get_file_info([run.path(made["path"]) for made in files])
    return run.exists(METRICS) and all(info.size == made["bytes"] for info, made in zip(infos, files, strict=True))


def _remove_strangers(run: RunDir, wanted: set[str]) -> None:
    """Remove parts that an earlier attempt made and this one did not, and what killed attempts left half done."""
    for folder in (ROLLOUTS, FAILURES):
        for name in run.names(folder):
            if name.startswith(("part-", ".part-")) and f"{folder}/{name}" not in wanted:
                run.remove(f"{folder}/{name}")


def _write(run: RunDir, plans: list[ShardPlan], config: CollectConfig) -> list[ShardResult]:
    """All shards, in order. Raises UserError with the first one's error."""
    job = _ShardJob(run, config.formats)
    if len(plans) > 1 and ray.is_initialized():
        results = _write_on_ray(job, plans, config)
    else:
        results = [job.write(plan) for plan in plans]
    for result in results:
        if result.error:
            raise UserError(result.error)
    return results


@dataclass(frozen=True, slots=True)
class _ShardJob:
    """Writing shards of one run, in the shape Ray Data calls."""

    where: RunDir
    formats: Sequence[str]

    def write(self, plan: ShardPlan) -> ShardResult:
        """Errors come back as data: Ray would wrap them in pages of its own."""
        try:
            return write_shard(self.where, plan, self.formats)
        except UserError as error:
            return ShardResult(error=str(error))

    def run(self, row: dict[str, Any]) -> dict[str, Any]:
        return {"number": row["number"], "result": pickle.dumps(self.write(pickle.loads(row["plan"])))}


def _write_on_ray(job: _ShardJob, plans: list[ShardPlan], config: CollectConfig) -> list[ShardResult]:
    """As many shards at once as there were agents, each with an agent's CPUs: what the run was granted."""
    import ray.data

    ray.data.DataContext.get_current().enable_progress_bars = False
    rows = [{"number": plan.number, "plan": pickle.dumps(plan)} for plan in plans]
    hands = ray.data.TaskPoolStrategy(size=config.num_agents)
    dataset = ray.data.from_items(rows, override_num_blocks=len(rows))
    dataset = dataset.map(job.run, compute=hands, num_cpus=config.agent_cpus)
    made = {row["number"]: pickle.loads(row["result"]) for row in dataset.iter_rows()}
    return [made[plan.number] for plan in plans]
