"""Judges in a host: what a failed judgement becomes, what judging costs, who opens and closes the clients."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from gym_ray import ResourcesServer, Reward, TaskRow, Trajectory
from gym_ray.resources.config import EnvironmentConfig
from gym_ray.resources.contract import check
from gym_ray.resources.golden import Golden
from gym_ray.resources.host import Host
from gym_ray.resources.judge import Judge, JudgeReply, judge_names
from gym_ray.resources.load import load_server
from gym_ray.types.errors import FailureKind, MaskRollout, RolloutError, Stage, UserError
from gym_ray.types.items import Item, assistant_message, reasoning
from gym_ray.types.trajectory import FinishReason, Usage

HERE = __file__
ROW = {"responses_create_params": {"input": "Say something."}}


class Asks(ResourcesServer):
    """Right when every judge it asks (as many as the answer says, side by side) says yes."""

    judge_roles = ("judge",)

    async def verify(self, task: TaskRow, trajectory: Trajectory, session: dict[str, Any]) -> float:
        count = int(trajectory.text)
        said = await asyncio.gather(
            *(self.judge.ask(f"question {number}", {"seed": number}) for number in range(count))
        )
        return float(all(text == "yes" for text in said))


class AsksTwo(ResourcesServer):
    """One judge for the answer, one that plays a user."""

    judge_roles = ("judge", "user")

    async def verify(self, task: TaskRow, trajectory: Trajectory, session: dict[str, Any]) -> Reward:
        names = {role: judge.name for role, judge in self.judges.items()}
        return Reward(1.0, extra={"names": names, "said": await self.judges["user"].ask("hello")})


class AsksOfGroups(ResourcesServer):
    """One question per group; the second member is masked."""

    judge_roles = ("judge",)

    async def verify_group(self, task: TaskRow, trajectories: Sequence[Trajectory]) -> list[Any]:
        await self.judge.ask("which?")
        return [1.0, MaskRollout("own:kind", "the second"), Reward(0.5)]


class Reviewed(ResourcesServer):
    """Computes in a worker process, asks in the host."""

    cpu_bound = True
    judge_roles = ("judge",)

    async def verify(self, task: TaskRow, trajectory: Trajectory, session: dict[str, Any]) -> float:
        if trajectory.text == "ask in the worker":
            await self.judge.ask("anybody there?")
        return 0.25

    async def review(
        self, task: TaskRow, trajectory: Trajectory, session: dict[str, Any], reward: Reward
    ) -> Reward | float:
        return reward.value + float(await self.judge.ask("more?") == "yes")


class AsksInWorker(ResourcesServer):
    """Cannot work: its verifier runs where no judge is."""

    cpu_bound = True
    judge_roles = ("judge",)

    async def verify(self, task: TaskRow, trajectory: Trajectory, session: dict[str, Any]) -> float:
        return 1.0


class Model:
    """Says ``answer``, or raises it."""

    def __init__(self, answer: list[Item] | Exception, finish: FinishReason = FinishReason.STOP) -> None:
        self.answer, self.finish = answer, finish
        self.params: list[Mapping[str, Any]] = []
        self.closed = 0

    async def respond(self, items: list[Item], params: Mapping[str, Any]) -> JudgeReply:
        self.params.append(params)
        await asyncio.sleep(0)
        if isinstance(self.answer, Exception):
            raise self.answer
        return JudgeReply(self.answer, self.finish, Usage(10, 2))

    async def close(self) -> None:
        self.closed += 1


class Table:
    """Judges by name."""

    def __init__(self, **models: Model) -> None:
        self.models, self.opened = models, 0

    def __contains__(self, name: object) -> bool:
        return name in self.models

    def open(self, name: str) -> Model:
        self.opened += 1
        return self.models[name]


def host(name: str, table: Table | None, **settings: Any) -> Host:
    return Host("env", EnvironmentConfig(server=f"{HERE}:{name}", **settings), table)


async def verdict(host: Host, text: str) -> Reward:
    session = await host.seed(ROW, "env/t/0")
    try:
        return await session.verify(Trajectory.of_items([assistant_message(text)]))
    finally:
        await session.close()


async def test_usage_is_the_rollouts_own_also_when_judges_run_side_by_side() -> None:
    table = Table(default=Model([reasoning("hm"), assistant_message("<think>no</think> yes ")]))
    served = host("Asks", table)
    few, many, none = await asyncio.gather(*(verdict(served, count) for count in ("1", "5", "0")))
    assert [one.value for one in (few, many, none)] == [1.0, 1.0, 1.0]
    usage = [one.extra["judge_usage"] for one in (few, many, none)]
    assert [one["calls"] for one in usage] == [1, 5, 0]
    assert (usage[1]["prompt_tokens"], usage[1]["completion_tokens"]) == (50, 10)
    assert usage[1]["seconds"] > 0 == usage[2]["seconds"]
    assert {"seed": 4} in table.models["default"].params
    await served.aclose()
    assert (table.opened, table.models["default"].closed) == (1, 1)


@pytest.mark.parametrize(
    ("model", "kind", "reason"),
    [
        (
            Model(RolloutError(FailureKind.TRANSPORT_UNREACHABLE, Stage.MODEL, "nobody listens")),
            FailureKind.JUDGE_FAILED,
            "nobody listens",
        ),
        (Model([]), FailureKind.JUDGE_UNPARSEABLE, "no text"),
        (Model([assistant_message("yes")], FinishReason.LENGTH), FailureKind.JUDGE_UNPARSEABLE, "cut"),
        (Model([], FinishReason.CONTEXT_WINDOW), FailureKind.JUDGE_FAILED, "does not fit"),
        (Model([assistant_message("<think>yes, yes</think>")]), FailureKind.JUDGE_UNPARSEABLE, "no text"),
    ],
)
async def test_a_judgement_that_was_not_had_masks(model: Model, kind: str, reason: str) -> None:
    with pytest.raises(MaskRollout, match=reason) as masked:
        await verdict(host("Asks", Table(default=model)), "1")
    assert masked.value.kind == kind


async def test_roles_and_names() -> None:
    yes = Model([assistant_message("yes")])
    reward = await verdict(host("AsksTwo", Table(default=yes, user=Model([assistant_message("hi")]))), "x")
    assert reward.extra["names"] == {"judge": "default", "user": "user"}
    assert reward.extra["said"] == "hi"
    table = Table(strict=yes)
    reward = await verdict(host("AsksTwo", table, judge="strict"), "x")
    assert reward.extra["names"] == {"judge": "strict", "user": "strict"}
    assert table.opened == 1, "one client for both roles"
    with pytest.raises(UserError, match=r"environment `env` asks the judge `default`.*judge=openai judge\.base_url="):
        host("AsksTwo", None)
    with pytest.raises(UserError, match=r"asks the judge `lax`.*judges\.lax=openai judges\.lax\.base_url="):
        host("AsksTwo", table, judge="lax")
    assert judge_names("env", ["judge"], "default", Table(judge=yes, default=yes)) == {"judge": "default"}


async def test_a_groups_cost_is_shared_and_one_member_may_be_masked_alone() -> None:
    served = host("AsksOfGroups", Table(default=Model([assistant_message("a")])))
    first, second, third = await served.verify_group(ROW, [Trajectory.of_items([])] * 3)
    assert isinstance(first, Reward)
    assert isinstance(second, MaskRollout)
    assert isinstance(third, Reward)
    assert (first.value, second.kind, third.value) == (1.0, "own:kind", 0.5)
    assert first.extra["judge_usage"]["calls"] == pytest.approx(1 / 3)


async def test_a_cpu_bound_verdict_is_reviewed_in_the_host() -> None:
    served = host("Reviewed", Table(default=Model([assistant_message("yes")])))
    try:
        reward = await verdict(served, "fine")
        assert reward.value == 1.25
        assert reward.extra["judge_usage"]["calls"] == 1
        with pytest.raises(MaskRollout, match="ask in `review`"):
            await verdict(served, "ask in the worker")
    finally:
        await served.aclose()
    with pytest.raises(UserError, match=r"cpu_bound.*ask in `async def review`"):
        load_server(f"{HERE}:AsksInWorker")


async def test_golden_lines_script_the_judge() -> None:
    def golden(text: str, judge: list[str | None], **expected: Any) -> Golden:
        return Golden(task=0, items=[assistant_message(text)], judge=judge, **expected)

    async def problems(*lines: Golden) -> str:
        found = {one.name: one for one in await check(f"{HERE}:Asks", [ROW], list(lines))}
        assert found["isolation"].passed
        return "" if found["golden"].passed else found["golden"].detail

    right = golden("2", ["yes", "yes"], expected_reward=1.0)
    wrong = golden("2", ["yes", "no"], expected_reward=0.0)
    failing = golden("1", [None], expected_mask="judge_failed")
    assert await problems(right, wrong, failing) == ""
    assert "not asked for the last 1" in await problems(golden("1", ["yes", "yes"], expected_reward=1.0))
    assert "nothing to say" in await problems(golden("1", [], expected_reward=1.0))


async def test_whoever_asks_without_saying_so_is_told() -> None:
    with pytest.raises(TypeError, match="judge_roles"):
        _ = ResourcesServer().judge
    assert await Judge("j", Model([assistant_message("a")])).ask([{"role": "user", "content": "?"}]) == "a"
