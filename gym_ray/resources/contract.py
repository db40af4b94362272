"""What every environment must keep to, checked by running it: ``gym-ray env test``.

Each check is on its own and says in one line per problem what is wrong. The environment runs in this
process, as it would inline; a cpu-bound verifier runs in its worker process.
"""

from __future__ import annotations

import copy
import math
import re
from collections import deque
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

import orjson
from jsonschema import Draft202012Validator, SchemaError
from pydantic import ValidationError

from gym_ray.resources.config import EnvironmentConfig
from gym_ray.resources.golden import Golden, Replay, ScriptedJudges, load_golden, scripted
from gym_ray.resources.gymnasium import GymnasiumServer
from gym_ray.resources.host import Host
from gym_ray.resources.loop_watch import LoopWatch
from gym_ray.types.errors import MaskRollout, RolloutError, UserError, describe
from gym_ray.types.outcome import Reward
from gym_ray.types.validation import explain

__all__ = ["CheckResult", "Golden", "check", "load_golden"]

BLOCKED_S = 0.05
"""An operation must not hold the event loop for longer."""
TOGETHER = 8
"""Sessions of one task that are run interleaved."""
ROUNDS = 3
"""A stall counts only if it comes in each of so many runs: the first import and a busy machine do not."""
_TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class CheckResult:
    """``name``: what was checked. ``detail``: how much, or one line per problem."""

    name: str
    passed: bool
    detail: str


async def check(
    server: str, examples: list[dict[str, Any]], golden: list[Golden], options: dict[str, Any] | None = None
) -> list[CheckResult]:
    """Check the class at the path ``server``, made with ``options``. Never raises for what the class does."""
    try:
        host = Host("contract", EnvironmentConfig(server=server, options=options or {}), ScriptedJudges())
    except UserError as error:
        return [CheckResult("load", False, str(error))]
    host.start()
    contract = Contract(host, examples, golden)
    try:
        return [
            CheckResult("load", True, type(host.server).__name__),
            contract.tools(),
            contract.examples(),
            await contract.golden(),
            await contract.close(),
            await contract.isolation(),
            await contract.event_loop(),
        ]
    finally:
        await host.aclose()


class Contract:
    """The checks of one environment, each of them one method."""

    def __init__(self, host: Host, examples: list[dict[str, Any]], golden: list[Golden]) -> None:
        self._host, self._golden = host, golden
        self._examples = [row for row in examples if self._parses(row) is None]
        self._bad_examples = [(number, self._parses(row)) for number, row in enumerate(examples)]
        self._all_examples = examples

    def tools(self) -> CheckResult:
        """Names that models may call, descriptions, and schemas that are JSON Schema."""
        problems = []
        for definition in self._host.toolbox.definitions:
            name = definition["name"]
            if not _TOOL_NAME.fullmatch(name):
                problems.append(f"`{name}`: a tool's name has at most 64 letters, digits, `_` and `-`")
            if not definition["description"].strip():
                problems.append(f"`{name}` has no docstring: the model would not know what it does")
            try:
                Draft202012Validator.check_schema(definition["parameters"])
            except SchemaError as error:
                problems.append(f"`{name}`: its schema is not JSON Schema: {error.message}")
        return _result("tools", problems, f"{len(self._host.toolbox.definitions)} tools")

    def examples(self) -> CheckResult:
        """Every example fits the environment's ``Task``."""
        problems = [f"example {number}: {problem}" for number, problem in self._bad_examples if problem]
        if not self._all_examples:
            problems.append("there are no examples")
        return _result("examples", problems, f"{len(self._all_examples)} rows")

    async def golden(self) -> CheckResult:
        """Every golden trajectory gets the verdict it must get, and no task is changed on the way."""
        problems = []
        replays = []
        for golden in self._golden:
            try:
                row = golden.row(self._all_examples)
                before = copy.deepcopy(row)
                replays.append(await self._replayed(row, golden))
                if row != before or self._changed(row):
                    problems.append(f"{golden.title}: the task was changed; the rollouts of a group share it")
            except IndexError:
                problems.append(f"{golden.title}: there is no such example")
            except RolloutError as error:
                problems.append(f"{golden.title}: {error}")
        if self._host.scores_groups:
            await self._judge_groups(replays)
        problems += (f"{one.golden.title}: {wrong}" for one in replays for wrong in _wrongs(one))
        if not self._golden:
            problems.append("there are no golden trajectories")
        return _result("golden", problems, f"{len(replays)} trajectories")

    async def close(self) -> CheckResult:
        """``close`` may be called again on a session that is closed."""
        server, problems = self._host.server, []
        for number, row in enumerate(self._examples[:3]):
            task = self._host.rows(row).task
            try:
                state = await server.seed(task)
                if isinstance(server, GymnasiumServer):
                    await server.reset(task, state)
                await server.close(state)
                await server.close(state)
            except Exception as error:
                problems.append(f"example {number}: {describe(error)}")
        return _result("close", problems, f"{len(self._examples[:3])} sessions closed twice")

    async def isolation(self) -> CheckResult:
        """Sessions that run interleaved get the verdicts that they get alone."""
        problems, count = [], 0
        by_task: dict[int, list[tuple[dict[str, Any], Golden]]] = {}
        for row, golden in self._cases():
            by_task.setdefault(id(row), []).append((row, golden))
        for cases in by_task.values():
            chosen = (cases * 2)[: max(2, min(len(cases), TOGETHER))]
            try:
                alone = [await self._replayed(*case) for case in chosen]
                together = await self._interleaved(chosen)
            except RolloutError as error:
                problems.append(f"{chosen[0][1].title}: {error}")
                continue
            count += len(chosen)
            pairs = zip(alone, together, strict=True)
            problems += (_differs(one, other) for one, other in pairs if _key(one) != _key(other))
        return _result("isolation", problems, f"{count} interleaved sessions")

    async def event_loop(self) -> CheckResult:
        """No operation holds the event loop for more than :data:`BLOCKED_S`."""
        problems = []
        for row, golden in self._cases():
            rounds: list[dict[str, float]] = []
            try:
                while len(rounds) < ROUNDS and not (rounds and max(rounds[-1].values(), default=0.0) <= BLOCKED_S):
                    async with LoopWatch() as watch:
                        await Replay(self._host, row, golden, watch.measure).run()
                    rounds.append(watch.worst)
            except RolloutError:
                continue  # reported by the golden check
            for label in rounds[0]:
                if label == "verify" and self._host.server.cpu_bound:
                    continue
                least = min(one.get(label, 0.0) for one in rounds)
                if least > BLOCKED_S:
                    problems.append(f"{golden.title}: {label} held the event loop for {least * 1e3:.0f} ms")
        return _result("event loop", problems, f"never held for {BLOCKED_S * 1e3:.0f} ms")

    def _parses(self, row: dict[str, Any]) -> str | None:
        try:
            self._host.server.Task.model_validate(row)
        except ValidationError as error:
            return "; ".join(explain(error))
        return None

    def _changed(self, row: dict[str, Any]) -> bool:
        fresh = self._host.server.Task.model_validate(row)
        return bool(self._host.rows(row).task.model_dump() != fresh.model_dump())

    def _cases(self) -> list[tuple[dict[str, Any], Golden]]:
        """What to run when the verdict does not matter: the golden ones, or else an empty answer per example."""
        count = len(self._all_examples)
        known = [golden for golden in self._golden if isinstance(golden.task, dict) or 0 <= golden.task < count]
        if known:
            return [(golden.row(self._all_examples), golden) for golden in known]
        silent: dict[str, Any] = {"turns": []} if self._host.gymnasium else {"items": []}
        return [(row, Golden(task=row, expected_reward=0.0, note="no answer", **silent)) for row in self._examples]

    async def _replayed(self, row: dict[str, Any], golden: Golden) -> Replay:
        replay = Replay(self._host, row, golden, _await)
        await replay.run()
        return replay

    async def _interleaved(self, cases: list[tuple[dict[str, Any], Golden]]) -> list[Replay]:
        replays = [Replay(self._host, row, golden, _await) for row, golden in cases]
        running = [replay.operations() for replay in replays]
        try:
            while running:
                running = [one for one in running if await anext(one, _END) is not _END]
        finally:
            for one in running:
                await one.aclose()
        return replays

    async def _judge_groups(self, replays: list[Replay]) -> None:
        groups: dict[int, list[Replay]] = {}
        for replay in replays:
            groups.setdefault(id(replay.row), []).append(replay)
        for group in groups.values():
            replies = deque(reply for one in group for reply in one.unasked)
            try:
                with scripted(replies):
                    rewards = await self._host.verify_group(group[0].row, [one.trajectory for one in group])
            except MaskRollout as mask:
                for replay in group:
                    replay.verdict = mask
            else:
                for replay, reward in zip(group, rewards, strict=True):
                    replay.verdict = reward
            for replay in group:
                replay.unasked = replies


_END = object()


async def _await(label: str, work: Awaitable[Any]) -> Any:
    return await work


def _result(name: str, problems: list[str], fine: str) -> CheckResult:
    return CheckResult(name, not problems, "\n".join(problems) or fine)


def _key(replay: Replay) -> tuple[float | None, str | None]:
    verdict = replay.verdict
    return getattr(verdict, "value", None), getattr(verdict, "kind", None)


def _differs(alone: Replay, together: Replay) -> str:
    return f"{alone.golden.title}: {_said(alone)} alone, {_said(together)} beside other sessions of the same task"


def _said(replay: Replay) -> str:
    verdict = replay.verdict
    if isinstance(verdict, Reward):
        return f"reward {verdict.value:g}"
    return f"masked ({verdict.kind}: {verdict.reason})" if isinstance(verdict, MaskRollout) else "no verdict"


def _wrongs(replay: Replay) -> list[str]:
    golden, verdict = replay.golden, replay.verdict
    if replay.unasked:
        return [f"the judge was not asked for the last {len(replay.unasked)} of its replies"]
    wanted = f"masked ({golden.expected_mask})" if golden.expected_mask else f"reward {golden.expected_reward:g}"
    if not isinstance(verdict, Reward):
        right = isinstance(verdict, MaskRollout) and verdict.kind == golden.expected_mask
        return [] if right else [f"{_said(replay)}, expected {wanted}"]
    problems = []
    if golden.expected_reward is None or abs(verdict.value - golden.expected_reward) > golden.tolerance:
        problems.append(f"{_said(replay)}, expected {wanted}")
    if verdict.components and not math.isclose(sum(verdict.components.values()), verdict.value, abs_tol=1e-6):
        problems.append(f"the components sum to {sum(verdict.components.values()):g}, the reward is {verdict.value:g}")
    try:
        orjson.dumps(verdict.extra)
    except TypeError as error:
        problems.append(f"`extra` is not JSON: {error}")
    return problems
