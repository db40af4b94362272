"""The actor that NeMo-RL drives in place of its NeMo Gym actor.

Two classes with the two interfaces that NeMo-RL's releases know: :class:`StreamingGym` (main: rows as they finish) and
:class:`ListGym` (v0.5 to v0.7: all rows, in order). Both plan the ``env.nemo_gym`` block, bring up a fleet of agent
workers when first needed, and cut a call's rows into prompt groups (``prompts``); any number of calls may be under way,
and each group is scheduled by itself. A Ray-restarted actor comes up by itself, too.

Invariants: a row is answered exactly once; all rows of a group are answered together, when its last rollout is durable
in the run's journal; what is raised is a built-in exception with one line of text, which every process can unpickle.
``ConnectionError``: servers are away, try again (NeMo-RL's "infra"). ``ValueError``: the rows or the settings are
wrong ("data"). Whatever goes wrong inside a rollout is a masked row, never an exception.

Nothing here imports torch or ``nemo_rl``.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any

import orjson

from gym_ray.collect.journal.record import decode
from gym_ray.integrations.nemo_rl.block import BlockPlan, plan_block
from gym_ray.integrations.nemo_rl.flags import Flags
from gym_ray.integrations.nemo_rl.lost import bad_row, lost
from gym_ray.integrations.nemo_rl.prompts import ROW_INDEX, prompt_groups
from gym_ray.integrations.nemo_rl.results import ResultMaker
from gym_ray.service.fleet import Fleet
from gym_ray.types.errors import RolloutError, UserError
from gym_ray.types.rollout import Rollout

Json = dict[str, Any]
Answer = tuple[int, Json, Json | None]


class GymActor:
    """What both interfaces share. ``cfg``: NeMo-RL's ``NemoGymConfig``, with ``run_dir`` added by the launcher."""

    reads_masks = True

    def __init__(self, cfg: Json) -> None:
        self._cfg = cfg
        self._tokenizer: Any = None
        self._fleet: Fleet | None = None
        self._error = ""
        self._lock: asyncio.Lock | None = None
        self._plan: BlockPlan | None = None

    async def _spinup(self) -> None:
        """Bring up environments, judges and agent workers. Raises ValueError for settings that cannot work."""
        await self._up()

    def set_tokenizer(self, tokenizer: Any) -> None:
        """Keep the tokenizer: results then carry the texts that NeMo-RL logs, and some of its penalties read."""
        self._tokenizer = tokenizer

    async def shutdown(self) -> None:
        """Take everything down. What was finished is in the run directory."""
        fleet, self._fleet = self._fleet, None
        if fleet is not None:
            await fleet.close()

    async def step(self, message_log_batch: Any, metadata: Any) -> None:
        """Not how this environment is used: rollouts are made whole."""
        raise NotImplementedError("gym_ray makes whole rollouts: run_rollouts")

    async def global_post_process_and_metrics(self, batch: Any) -> None:
        """As :meth:`step`."""
        raise NotImplementedError("gym_ray makes whole rollouts: run_rollouts")

    async def _up(self) -> Fleet:
        """The fleet, started if it is not up. One start at a time."""
        self._lock = self._lock or asyncio.Lock()
        async with self._lock:
            if self._fleet is None:
                try:
                    self._plan = _plan(self._cfg)
                    self._fleet = await _started(Fleet(self._plan.config))
                except UserError as error:
                    raise ValueError(str(error)) from None
                print(f"gym_ray: rollouts are kept in {self._plan.config.run_dir}", file=sys.stderr)
            return self._fleet

    def _alive(self) -> None:
        if self._fleet is None:
            raise RuntimeError("gym_ray: not up: _spinup() has not been called, or shutdown() has")
        if self._error:
            raise RuntimeError(f"gym_ray: the fleet cannot go on: {self._error}")

    async def _answers(self, rows: Sequence[Json], prefix: str) -> AsyncIterator[Answer]:
        """One answer per row, groups as they end; the timings come with the last."""
        if not rows:
            raise ValueError("gym_ray: no rows were given")
        fleet, began = await self._up(), time.perf_counter()
        assert self._plan is not None
        plan = self._plan
        agents = {agent: _environment(plan, agent) for agent in map(_agent, rows)}
        groups = prompt_groups(rows, lambda row: plan.group_sizes.get(agents[_agent(row)]))
        maker, spent, left, kinds = self._maker(plan), 0.0, len(rows), Counter[str]()
        running = [asyncio.ensure_future(self._group(fleet, plan, group)) for group in groups]
        try:
            for done in asyncio.as_completed(running):
                group, rollouts = await done
                since = time.perf_counter()
                results = await asyncio.to_thread(maker.group, rollouts)
                spent += time.perf_counter() - since
                kinds.update(one.failure.kind for one in rollouts if one.failure is not None)
                for row, result in zip(group, results, strict=True):
                    left -= 1
                    yield row[ROW_INDEX], result, None if left else _timings(prefix, began, spent)
        finally:
            for one in running:
                one.cancel()
            if kinds:
                counts = ", ".join(f"{kind}: {count}" for kind, count in kinds.most_common())
                print(f"gym_ray: masked rows of {len(rows)}: {counts}", file=sys.stderr)

    async def _group(self, fleet: Fleet, plan: BlockPlan, rows: list[Json]) -> tuple[list[Json], list[Rollout]]:
        environment = _environment(plan, _agent(rows[0]))
        own = {key: value for key, value in rows[0].items() if key != ROW_INDEX}
        try:
            task = fleet.plan(orjson.dumps(own), rollouts=len(rows), environment=environment)
        except UserError as error:
            return rows, bad_row(own, len(rows), environment, str(error))
        try:
            records = await fleet.run_records(task)
        except UserError as error:
            self._error = str(error)
            raise ConnectionError(f"gym_ray: {error}") from None
        except RolloutError as error:
            raise ConnectionError(f"gym_ray: {error.reason}") from None
        rollouts = [decode(record) for record in records]
        if plan.settings.on_lost_group == "raise" and (reason := lost(rollouts)):
            raise ConnectionError(f"gym_ray: every rollout of a group was lost: {reason}")
        return rows, rollouts

    def _maker(self, plan: BlockPlan) -> ResultMaker:
        flags = Flags.given(self._cfg.get("invalid_tool_call_patterns"), self._cfg.get("thinking_tags"))
        batch_decode = getattr(self._tokenizer, "batch_decode", None)
        eos = getattr(self._tokenizer, "eos_token_id", None) or 0
        return ResultMaker(flags, plan.settings.history, batch_decode, int(eos), self.reads_masks)


class StreamingGym(GymActor):
    """NeMo-RL's main branch: ``run_rollouts`` is called with ``num_returns="streaming"``."""

    async def health_check(self) -> None:
        """Raises RuntimeError when rollouts cannot be made."""
        self._alive()

    async def run_rollouts(
        self, nemo_gym_examples: list[Json], timer_prefix: str, deduplicate_multimodal_data: bool = False
    ) -> AsyncGenerator[Answer, None]:
        """``(row["_rowidx"], result, timings)`` per row, a group's rows together; timings with the last row alone."""
        async for answer in self._answers(nemo_gym_examples, timer_prefix):
            yield answer


class ListGym(GymActor):
    """NeMo-RL v0.5 to v0.7. The first two have no ``_spinup``: they wait for ``health_check``. None reads a mask."""

    reads_masks = False

    async def health_check(self) -> bool:
        """True when rollouts can be made; comes up first if need be."""
        await self._up()
        self._alive()
        return True

    async def run_rollouts(
        self, nemo_gym_examples: list[Json], tokenizer: Any, timer_prefix: str
    ) -> tuple[list[Json], Json]:
        """All results in the order of the rows, and the timings."""
        self._tokenizer = tokenizer
        results: dict[int, Json] = {}
        timings: Json = {}
        async for index, result, last in self._answers(nemo_gym_examples, timer_prefix):
            results[index] = result
            timings = last or timings
        return [results[index] for index in sorted(results)], timings


async def _started(fleet: Fleet) -> Fleet:
    try:
        await fleet.start()
    except BaseException:
        await fleet.close()
        raise
    return fleet


def _plan(cfg: Json) -> BlockPlan:
    if cfg.get("require_routed_experts"):
        raise UserError("policy.router_replay.enabled: gym_ray does not hand on routed experts; set it to false")
    if cfg.get("tokenizer_config"):
        raise UserError("policy.is_vlm: gym_ray hands on no images; set it to false")
    block = cfg.get("initial_global_config_dict") or {}
    return plan_block(block, cfg["model_name"], cfg["base_urls"], cfg["run_dir"])


def _agent(row: Json) -> str:
    """The agent that a row asks for. Raises ValueError for what is no row."""
    agent = row.get("agent_ref")
    name = agent.get("name") if isinstance(agent, dict) else None
    if not isinstance(name, str) or not isinstance(row.get("responses_create_params"), dict):
        raise ValueError("gym_ray: a row needs `agent_ref.name` and `responses_create_params`")
    return name


def _environment(plan: BlockPlan, agent: str) -> str:
    if agent in plan.unserved:
        raise ValueError(f"gym_ray: rows ask for the agent `{agent}`: {plan.unserved[agent]}")
    if agent not in plan.environments:
        known = ", ".join(sorted(plan.environments))
        raise ValueError(f"gym_ray: rows ask for the agent `{agent}`, not in env.nemo_gym (it has {known})")
    return plan.environments[agent]


def _timings(prefix: str, began: float, spent: float) -> Json:
    """NeMo-RL's three numbers: seconds waiting, seconds on results, and their share of the call in percent."""
    total = time.perf_counter() - began
    return {
        f"{prefix}/await_results": total - spent,
        f"{prefix}/postprocess_results": spent,
        f"{prefix}/postprocess_results_pct": 100 * spent / total,
    }
