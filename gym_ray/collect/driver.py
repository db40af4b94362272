"""The driver: one collection from configuration to manifest.

Order of events: directory and configuration agree -> plan -> what the journal already has -> model and
environments come up -> the pipeline runs, watched -> finalise. Each step can be repeated after a death at
any moment; none of them holds rows.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import ray
from rich.console import Console

from gym_ray.collect.board import start_board
from gym_ray.collect.cluster import ray_session
from gym_ray.collect.config import RunConfig
from gym_ray.collect.fingerprint import check_resumable, write_config
from gym_ray.collect.hosts import hosts_up, needs_policy
from gym_ray.collect.interrupts import Interrupts
from gym_ray.collect.judges import asked_judges, check_endpoints
from gym_ray.collect.meters import Meters
from gym_ray.collect.output.finalize import Summary, finalize, unfinished
from gym_ray.collect.output.sinks import Sinks
from gym_ray.collect.owner import owned
from gym_ray.collect.part import Part
from gym_ray.collect.pipeline import run_blocks
from gym_ray.collect.progress import Progress
from gym_ray.collect.quiet import quiet
from gym_ray.collect.remaining import Remaining, remaining
from gym_ray.collect.rundir import RunDir
from gym_ray.collect.tally import Tally
from gym_ray.collect.tasks.plan import Plan, copy_plan, write_plan
from gym_ray.collect.watchdog import Watchdog
from gym_ray.collect.worker import WorkerSetup
from gym_ray.models.remote import api_key
from gym_ray.resources.load import load_servers

LOOK_S = 0.5
"""Seconds between two looks at the board."""


def collect(config: RunConfig) -> Summary:
    """Make every rollout of the run, or of its part, that is not there yet; returns what the run holds.

    Ctrl-C once: nothing new is begun, what is in the air ends, shards are written. Twice: everything stops
    now. Either way every finished rollout is kept, and the same call goes on from there.

    Raises:
        UserError: configuration, tasks or the run directory do not allow it (one line each).
        KeyboardInterrupt: interrupted twice.
    """
    part = Part.parse(config.collect.part)
    servers = load_servers(config.envs)
    judges = asked_judges(config, servers)
    if needs_policy(config, judges):
        api_key(config.model)  # A missing key is told now, not by the first worker.
    run = RunDir.create(config.run_dir)
    with owned(run, part):
        settings = config.model_dump(mode="json")
        check_resumable(run, settings)
        plan = copy_plan(run, RunDir.open(config.recorded)) if config.recorded else write_plan(run, config, servers)
        write_config(run, settings)
        with Interrupts() as interrupts, quiet(run) as terminal, ray_session():
            console = Console(file=terminal)
            sinks = Sinks(config, run, partial(console.print, markup=False))
            rest = remaining(run, plan, part)
            if rest.rollouts:
                _run(run, config, plan, rest, judges, interrupts, console, sinks)
            summary = finalize(run, config, plan) if part.whole else unfinished(run, plan)
            sinks.end(summary)
        return replace(summary, interrupted=interrupts.count > 0)


def _run(
    run: RunDir,
    config: RunConfig,
    plan: Plan,
    rest: Remaining,
    asked: list[str],
    interrupts: Interrupts,
    console: Console,
    sinks: Sinks,
) -> None:
    there = rest.planned - rest.rollouts
    with Progress(rest.planned, there, console) as progress, contextlib.ExitStack() as stack:
        if there:
            progress.say(f"resuming: {there:,} of {rest.planned:,} rollouts are there")
        check_endpoints(config, asked, progress.say)
        hosts = stack.enter_context(hosts_up(config, asked, progress.say))
        setup = WorkerSetup(
            run.address, config, hosts.pools, hosts.endpoints, hosts.judges, start_board(), rest.earlier
        )
        flow = _Flow(plan, run, setup)
        meters = Meters(run.root.rstrip("/").rpartition("/")[2], rest.planned)
        watchdog = Watchdog(config.collect.watchdog_s)
        flow.watch(setup.board, progress, [meters.update, sinks.progress], interrupts, watchdog)


class _Flow:
    """The pipeline in a thread of its own, watched from the main one, where signals arrive."""

    def __init__(self, plan: Plan, run: RunDir, setup: WorkerSetup) -> None:
        self._error: BaseException | None = None
        self._work = partial(run_blocks, plan.files(run), run.filesystem, plan.rows, setup)
        self._thread = threading.Thread(target=self._drain, name="pipeline", daemon=True)

    def _drain(self) -> None:
        try:
            for _ in self._work():
                pass
        except BaseException as error:
            self._error = error

    def watch(
        self,
        board: Any,
        progress: Progress,
        told: list[Callable[..., None]],
        interrupts: Interrupts,
        watchdog: Watchdog,
    ) -> None:
        """Show progress until the last block is in, and tell ``told``; pass on interrupts."""
        self._thread.start()
        stopping = False
        while self._thread.is_alive():
            self._thread.join(LOOK_S)
            if interrupts.count > 1:
                raise KeyboardInterrupt
            if interrupts.count and not stopping:
                stopping = True
                board.stop.remote()
                progress.say(
                    "stopping: what is in the air may land; Ctrl-C again ends it now (nothing finished is lost)"
                )
            tally = _read(board)
            if tally is not None:
                progress.show(tally)
                for tell in told:
                    tell(tally)
                report = watchdog.look(time.monotonic(), tally)
                if report:
                    progress.say(report)
        if self._error is not None:
            raise self._error
        tally = _read(board)
        if tally is not None:
            progress.show(tally, last=True)
            for tell in told:
                tell(tally, last=True)


def _read(board: Any) -> Tally | None:
    try:
        tally: Tally = ray.get(board.read.remote(), timeout=10)
    except ray.exceptions.RayError:
        return None  # Only the display depends on it.
    return tally
