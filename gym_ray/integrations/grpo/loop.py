"""The closed loop: roll out, learn, give the model its new weights, again.

    train(RlConfig(...))

One deployment of the model and one fleet of agent workers serve all seeds, which train one after another. Rollouts go
through the same agents, environments and journal as those of ``gym-ray collect``.

It asks the fleet itself and not the rollout service, which is the fleet with a memory of what it owes: here a step's
tasks follow from seed and step, a step waits for all of its groups, and the checkpoint says where to go on. Nothing is
owed between two steps, and a ledger would be a second truth beside the checkpoint.

Invariants: synchronous, so every rollout is made by the weights of the step before, and its log-probabilities are the
loss's denominator. Held-out tasks are only ever measured on. Killed at any moment, the same call goes on from the last
checkpoint; rollouts made since then stay in the journal, and are not learnt from.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean
from typing import Any

from gym_ray.collect.cluster import ray_session
from gym_ray.collect.fingerprint import check_resumable, write_config
from gym_ray.collect.hosts import app_of
from gym_ray.collect.quiet import quiet
from gym_ray.collect.rundir import RunDir
from gym_ray.integrations.grpo.batch import samples_of
from gym_ray.integrations.grpo.curve import plot
from gym_ray.integrations.grpo.learner import Learner
from gym_ray.integrations.grpo.record import Record, check_settings, is_done, read_lines
from gym_ray.integrations.grpo.settings import RlConfig
from gym_ray.integrations.grpo.tasks import Curriculum, Task, read_curriculum
from gym_ray.models.serve.control import ModelControl
from gym_ray.models.serve.deployment import local_path
from gym_ray.service.fleet import Fleet
from gym_ray.types.errors import UserError
from gym_ray.types.outcome import Outcome
from gym_ray.types.rollout import Rollout

Say = Callable[[str], None]


def train(config: RlConfig) -> None:
    """Train every seed to its last step, or go on where an earlier call stopped. Progress goes to standard error.

    Raises:
        UserError: configuration, tasks or the run directory do not allow it; or no rollout of a step was scored.
    """
    config.check()
    if find_spec("matplotlib") is None:
        raise UserError("curve.png needs matplotlib: pip install 'gym-ray[rl]'")
    _weights(config)
    curriculum = read_curriculum(config.run, config.rl.held_out)
    run = RunDir.create(config.run_dir)
    collecting = config.run.model_dump(mode="json")
    check_resumable(run, collecting)
    write_config(run, collecting)  # With it the directory is a run's, and may hold a training as well.
    check_settings(run, config.rl)
    seeds = [seed for seed in config.rl.seeds if not is_done(run, seed, config.rl.steps)]
    if not seeds:
        return
    with quiet(run) as terminal, ray_session():

        def say(text: str) -> None:
            print(text, file=terminal)

        if curriculum.left_out:
            say(f"{curriculum.left_out:,} training tasks ask what a held-out one asks, and are left out")
        asyncio.run(_train(config, run, curriculum, seeds, say))


async def _train(config: RlConfig, run: RunDir, curriculum: Curriculum, seeds: list[int], say: Say) -> None:
    fleet = Fleet(config.run)
    try:
        await fleet.start()
        for seed in seeds:
            await _Training(config, run, curriculum, fleet, seed, say).run()
    finally:
        await fleet.close()


class _Training:
    """One seed."""

    def __init__(
        self, config: RlConfig, run: RunDir, curriculum: Curriculum, fleet: Fleet, seed: int, say: Say
    ) -> None:
        self._settings, self._curriculum, self._fleet, self._seed = config.rl, curriculum, fleet, seed
        self._group_size, self._weights = config.collect.rollouts_per_task, _weights(config)
        self._learner = Learner(self._weights, config.rl.learner, config.temperature, seed)
        self._run, self._record, self._say = run, Record(run, seed), say
        self._control = ModelControl(app_of(config.model))

    async def run(self) -> None:
        """All steps that are not there yet."""
        state = self._record.resume()
        if state is not None:
            self._learner.restore(state)
            self._say(f"seed {self._seed}: going on after step {self._learner.steps}")
        version, _ = await self._publish()
        if state is None:
            await self._note({"step": 0, "version": version, "held_out": await self._measure()})
        while self._learner.steps < self._settings.steps:
            await self._step(version)
            version = self._record.lines[-1]["version"]
        self._record.finish(self._learner.tensors(), self._weights)

    async def _step(self, sampled_by: int) -> None:
        step = self._learner.steps + 1
        tasks = self._curriculum.of_step(self._seed, step, self._settings.groups_per_step)
        began = time.monotonic()
        groups = await self._roll_out(tasks, self._group_size)
        collected = time.monotonic()
        samples = samples_of(groups, self._settings.learner.scale_rewards)
        report = await asyncio.to_thread(self._learner.step, samples)
        learnt = time.monotonic()
        version, pause_s = await self._publish()
        line = {"step": step, "sampled_by": sampled_by, "version": version, **_outcomes(groups), **report.means()}
        line["seconds"] = {"collect": collected - began, "learn": learnt - collected, "pause": pause_s}
        last = step == self._settings.steps
        if last or step % self._settings.measure_every == 0:
            line["held_out"] = await self._measure()
        await self._note(line)
        if last or step % self._settings.checkpoint_every == 0:
            self._record.save(self._learner.state())

    async def _publish(self) -> tuple[int, float]:
        """Give the model the learner's weights: their version, and for how long nothing was sampled."""
        update = await asyncio.to_thread(self._control.update_weights, tensors=self._learner.tensors())
        return update.version, update.pause_s

    async def _measure(self) -> float:
        """Mean reward on the held-out tasks."""
        groups = await self._roll_out(self._curriculum.held_out, self._settings.measure_rollouts)
        return fmean(_rewards(groups))

    async def _roll_out(self, tasks: Sequence[Task], rollouts: int) -> list[list[Rollout]]:
        """A group per task.

        Raises:
            UserError: none of them was scored.
        """
        planned = [self._fleet.plan(task.row, rollouts=rollouts, environment=task.environment) for task in tasks]
        groups = list(await asyncio.gather(*map(self._fleet.run_group, planned)))
        if not _rewards(groups):
            failure = next((one.failure for group in groups for one in group if one.failure), None)
            raise UserError(f"no rollout was scored: {failure.kind}: {failure.reason}" if failure else "no rollouts")
        return groups

    async def _note(self, line: dict[str, Any]) -> None:
        """Keep a step's metrics, and tell them."""
        self._record.add(line)
        if "held_out" in line:
            lines = {seed: read_lines(self._run, seed) for seed in self._settings.seeds}
            await asyncio.to_thread(plot, self._run, lines)
        self._tell(line)

    def _tell(self, line: dict[str, Any]) -> None:
        told = f"seed {self._seed}  step {line['step']}/{self._settings.steps}"
        if "reward" in line:
            seconds = line["seconds"]
            told += f"  reward {line['reward']:.3f}  collect {seconds['collect']:.1f} s  learn {seconds['learn']:.1f} s"
        if "held_out" in line:
            told += f"  held out {line['held_out']:.3f}"
        self._say(told)


def _weights(config: RlConfig) -> str:
    """The folder of the model's own weights."""
    path = local_path(config.model.serve.path or "")
    if not Path(path).is_dir():
        raise UserError(f"model.serve.path={path}: rl needs a folder with the weights to begin with")
    return path


def _rewards(groups: Sequence[Sequence[Rollout]]) -> list[float]:
    return [
        one.reward.value
        for group in groups
        for one in group
        if one.outcome is Outcome.SCORED and one.reward is not None
    ]


def _outcomes(groups: Sequence[Sequence[Rollout]]) -> dict[str, Any]:
    """Mean reward of a step, and how many rollouts ended how."""
    rollouts = [one for group in groups for one in group]
    counts = {str(outcome): sum(one.outcome is outcome for one in rollouts) for outcome in Outcome}
    return {"reward": fmean(_rewards(groups)), **counts}
