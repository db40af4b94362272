"""Experiment trackers beside a run's own files: W&B and MLflow get the same metrics, and some trajectories.

Invariants: a tracker never costs a rollout, nor the run. It works in a thread of its own; what it has no time for is
left out, what fails is said once and ends its part. The run directory stays the truth. Where a tracker is and who asks
is said by its own variables (``WANDB_API_KEY``, ``WANDB_MODE``, ``MLFLOW_TRACKING_URI``): no key is in a configuration.
A run that goes on reports to the tracker's run that it began.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from hashlib import blake2b
from typing import Any, Protocol

import numpy as np

from gym_ray.collect.config import RunConfig
from gym_ray.collect.fingerprint import redact
from gym_ray.collect.journal.frames import open_file, read_payload
from gym_ray.collect.journal.index import scan
from gym_ray.collect.journal.record import decode
from gym_ray.collect.output.finalize import Summary
from gym_ray.collect.rundir import RunDir
from gym_ray.collect.tally import Tally
from gym_ray.types.errors import UserError, describe
from gym_ray.types.items import Item, item_text
from gym_ray.types.rollout import Rollout

END_S = 60.0
"""Seconds that trackers get after the run to take what they still have."""
COLUMNS = ("environment", "task_id", "rollout_index", "outcome", "reward", "failure", "finish", "conversation")


class Sink(Protocol):
    """One tracker. Every method may raise anything."""

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Numbers of a run in progress; ``step``: finished rollouts."""
        ...

    def end(self, metrics: Mapping[str, float], step: int, samples: list[dict[str, Any]]) -> None:
        """The run's last numbers, and some of its rollouts (``COLUMNS``)."""
        ...


class Wandb:
    """Weights & Biases: one run of its project."""

    def __init__(self, config: RunConfig, run: RunDir) -> None:
        import wandb

        self._wandb = wandb
        self._run = wandb.init(
            project=config.trackers.project,
            name=_name(run),
            id=_identity(run),
            resume="allow",
            dir=run.path("log") if run.local else None,
            config=redact(config.model_dump(mode="json")),
            settings=wandb.Settings(console="off", silent=True),
        )

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """See :class:`Sink`."""
        self._run.log({**metrics, "rollouts": step})

    def end(self, metrics: Mapping[str, float], step: int, samples: list[dict[str, Any]]) -> None:
        """See :class:`Sink`."""
        rows = [[sample[name] for name in COLUMNS] for sample in samples]
        self._run.log({"samples": self._wandb.Table(columns=list(COLUMNS), data=rows)})
        self._run.summary.update(dict(metrics))
        self._run.finish()


class Mlflow:
    """MLflow: one run of its experiment."""

    def __init__(self, config: RunConfig, run: RunDir) -> None:
        from mlflow import MlflowClient

        self._client = client = MlflowClient()
        project, identity = config.trackers.project, _identity(run)
        experiment = client.get_experiment_by_name(project)
        number = experiment.experiment_id if experiment is not None else client.create_experiment(project)
        begun = client.search_runs([number], f"tags.gym_ray = '{identity}'", max_results=1)
        made = begun[0] if begun else client.create_run(number, run_name=_name(run), tags={"gym_ray": identity})
        self._run: str = made.info.run_id
        client.log_dict(self._run, redact(config.model_dump(mode="json")), "config.yaml")

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """See :class:`Sink`."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._client.log_batch(self._run, [Metric(name, value, now, step) for name, value in metrics.items()])

    def end(self, metrics: Mapping[str, float], step: int, samples: list[dict[str, Any]]) -> None:
        """See :class:`Sink`."""
        for begin in range(0, len(metrics), 500):  # what a request may hold, and more than a run has
            self.log(dict([*metrics.items()][begin : begin + 500]), step)
        self._client.log_dict(self._run, {"columns": list(COLUMNS), "rows": samples}, "samples.json")
        self._client.set_terminated(self._run)


TRACKERS: dict[str, Callable[[RunConfig, RunDir], Sink]] = {"wandb": Wandb, "mlflow": Mlflow}


class Sinks:
    """All trackers of one run, behind one thread. ``say``: told of a tracker that fails, once."""

    def __init__(self, config: RunConfig, run: RunDir, say: Callable[[str], None]) -> None:
        """Raises UserError: a tracker's package is not installed, or it does not begin."""
        self._run, self._say, self._settings = run, say, config.trackers
        self._sinks = {name: _opened(name, config, run) for name in config.trackers.to}
        self._work: queue.SimpleQueue[Callable[[Sink], None] | None] = queue.SimpleQueue()
        self._due = 0.0
        self._thread = threading.Thread(target=self._serve, name="trackers", daemon=True)
        self._thread.start()

    def progress(self, tally: Tally, *, last: bool = False) -> None:
        """Pass on ``tally``, every ``trackers.every_s`` seconds (``last``: anyway); left out while another waits."""
        now = time.monotonic()
        if not self._sinks or not (last or (now >= self._due and self._work.empty())):
            return
        self._due = now + self._settings.every_s
        metrics, step = dict(_of_tally(tally)), tally.finished
        self._work.put(lambda sink: sink.log(metrics, step))

    def end(self, summary: Summary) -> None:
        """Pass on what the run came to. Waits for it, :data:`END_S` seconds at most."""
        if self._sinks:
            metrics, samples = dict(flat(summary.environments)), sampled(self._run, self._settings.samples)
            self._work.put(lambda sink: sink.end(metrics, summary.finished, samples))
        self._work.put(None)
        self._thread.join(END_S)
        if self._thread.is_alive():
            self._say(f"trackers: not done after {END_S:g} s, left alone")

    def _serve(self) -> None:
        while (work := self._work.get()) is not None:
            for name, sink in list(self._sinks.items()):
                try:
                    work(sink)
                except Exception as error:
                    del self._sinks[name]
                    self._say(f"{name}: {describe(error)}; it gets no more of this run")


def _opened(name: str, config: RunConfig, run: RunDir) -> Sink:
    try:
        return TRACKERS[name](config, run)
    except ImportError as error:
        raise UserError(f"trackers.to={name}: {name} is not installed ({error.name}): pip install {name}") from None
    except Exception as error:
        raise UserError(f"trackers.to={name}: it does not begin: {describe(error)}") from error


def _name(run: RunDir) -> str:
    return run.root.rstrip("/").rpartition("/")[2]


def _identity(run: RunDir) -> str:
    """The same for every attempt at this run."""
    return blake2b(f"{run.filesystem.type_name}:{run.root}".encode(), digest_size=8).hexdigest()


def _of_tally(tally: Tally) -> Iterator[tuple[str, float]]:
    for name, its in tally.environments.items():
        for outcome in ("scored", "masked", "failed"):
            yield f"{name}/{outcome}", getattr(its, outcome)
        if its.mean_reward is not None:
            yield f"{name}/reward/mean", its.mean_reward
    for number in ("in_flight", "waiting", "prompt_tokens", "completion_tokens", "turns"):
        yield f"progress/{number}", getattr(tally, number)


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """The numbers of ``metrics.json`` by path: ``math/reward/mean``. Names as both trackers take them."""
    for key, value in values.items():
        name = f"{prefix}{''.join(one if one.isalnum() or one in '_-. /' else '_' for one in str(key))}"
        if isinstance(value, Mapping):
            yield from flat(value, f"{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield name, float(value)


def sampled(run: RunDir, most: int) -> list[dict[str, Any]]:
    """Up to ``most`` rollouts, evenly over the tasks; the same ones whenever it is asked."""
    index = scan(run, verify=False)
    where = index.done.where
    found = []
    for at in np.unique(np.linspace(0, max(0, len(where) - 1), min(most, len(where))).astype(np.int64)):
        name = index.files[where["file"][at]]
        with open_file(run, name) as content:
            found.append(_sample(decode(read_payload(content, int(where["offset"][at]), name))))
    return found


def _sample(rollout: Rollout) -> dict[str, Any]:
    trajectory = rollout.trajectory
    items = [*trajectory.input, *trajectory.items] if trajectory is not None else []
    values = (
        *(rollout.environment, rollout.task_id, rollout.rollout_index, str(rollout.outcome)),
        rollout.reward.value if rollout.reward is not None else None,
        rollout.failure.kind if rollout.failure is not None else None,
        str(trajectory.finish_reason) if trajectory is not None else None,
        "\n\n".join(map(_said, items)),
    )
    return dict(zip(COLUMNS, values, strict=True))


def _said(item: Item) -> str:
    """An item as a paragraph of text."""
    kind = item.get("type")
    if kind == "function_call":
        return f"[call] {item.get('name')}({item.get('arguments')})"
    if kind == "function_call_output":
        return f"[output] {item.get('output')}"
    return f"[{item.get('role') or kind}] {item_text(item)}"
