"""Our actor on a real Ray, called as NeMo-RL's drivers call theirs, against servers that answer as its workers do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from gym_ray.collect.journal.index import scan
from gym_ray.collect.rundir import RunDir
from gym_ray.integrations.nemo_rl.actor import ListGym, StreamingGym
from gym_ray.integrations.nemo_rl.launch import StandIn
from tests.nemo_rl.test_results import read_strictly
from tests.support.endpoint import Call, EndpointProcess, Fault, Say

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]
Json = dict[str, Any]
PREFIX = "timing/rollout"
TEMPERATURE, TOP_P = 0.7, 0.95


def worker(call: Call) -> str | Say | Fault:
    """A generation worker of NeMo-RL's: wants its sampling parameters to the digit, and no others."""
    body = call.body
    wanted = {"temperature": TEMPERATURE, "top_p": TOP_P, "logprobs": True, "top_logprobs": 0}
    if any(body.get(key) != value for key, value in wanted.items()) or "top_k" in body:
        return Fault(500, body=f"sampling parameters differ: {body}")
    words = call.question.split()
    if words[0] == "refused":
        return Fault(400, body="no such thing")
    if words[0] == "bump" and len(call.outputs) < int(words[1]):
        return Say(calls=[("bump", {})])
    return str(sum(int(word) for word in words[1:]))


@pytest.fixture(scope="module")
def urls() -> Iterator[list[str]]:
    with (
        EndpointProcess("tests.nemo_rl.test_actor:worker", tokens="nemo_rl") as one,
        EndpointProcess("tests.nemo_rl.test_actor:worker", tokens="nemo_rl") as two,
    ):
        yield [one, two]


@pytest.fixture
def cfg(urls: list[str], tmp_path: Path) -> Callable[..., Json]:
    """``cfg("Sum", ..., base_urls=, **our settings)``: what NeMo-RL gives its actor."""

    def made(*servers: str, base_urls: list[str] | None = None, **ours: Any) -> Json:
        envs = {name.lower(): {"server": f"tests/support/envs.py:{name}"} for name in servers}
        collect = {"num_agents": 1, "agent_cpus": 0.1, "max_attempts": 1}
        model = {"retry": {"base_s": 0.02, "max_s": 0.1, "max_attempts": 2}}
        settings = {"run_dir": str(tmp_path / "run"), "envs": envs, "collect": collect, "model": model, **ours}
        return {
            "model_name": "policy",
            "base_urls": base_urls or urls,
            "invalid_tool_call_patterns": None,
            "thinking_tags": None,
            "initial_global_config_dict": {"gym_ray": settings, "port_range_low": 5000},
            "run_dir": str(tmp_path / "run"),
        }

    return made


def rows(*prompts: str, group: int = 2, agent: str = "sum", **fields: Any) -> list[Json]:
    """As NeMo-RL's driver hands them over: each prompt ``group`` times, sampling parameters and numbers stamped."""
    params = {"temperature": TEMPERATURE, "top_p": TOP_P, "max_output_tokens": 64}
    return [
        {
            "responses_create_params": {"input": prompt, **params},
            "agent_ref": {"name": agent},
            "expected": sum(int(word) for word in prompt.split()[1:]),
            "_ng_task_index": at // group,
            "_rowidx": at,
            **fields,
        }
        for at, prompt in enumerate(prompt for prompt in prompts for _ in range(group))
    ]


async def stream(actor: Any, given: list[Json]) -> list[tuple[int, Json, Json | None]]:
    """The driver's loop over a stream, and its rules: each row once, timings with the last one only."""
    found = []
    async for reference in actor.run_rollouts.options(num_returns="streaming").remote(given, PREFIX, False):
        found.append(await reference)
    assert sorted(index for index, _, _ in found) == [row["_rowidx"] for row in given]
    assert [timings is not None for _, _, timings in found] == [False] * (len(found) - 1) + [True]
    assert set(found[-1][2] or {}) == {
        f"{PREFIX}/{name}" for name in ("await_results", "postprocess_results", "postprocess_results_pct")
    }
    for _, result, _ in found:
        read_strictly(result)
    return found


async def test_streams_of_several_callers_and_their_failures(cfg: Callable[..., Json], tmp_path: Path) -> None:
    runtime = {"py_executable": "uv run --extra nemo_gym", "env_vars": {"VIRTUAL_ENV": "uv"}}
    actor = StandIn(True).options(runtime_env=runtime).remote(cfg("Sum", "Counter"))
    with pytest.raises(RuntimeError, match="not up"):
        await actor.health_check.remote()
    await actor._spinup.remote()
    await actor.health_check.remote()
    prompts = [f"sum {number} 1" for number in range(100)]
    streams = [rows(*prompts, group=4), rows("sum 1 1", group=8), rows("bump 2", agent="counter", bumps=2)]
    many, one, tools = await asyncio.gather(*(stream(actor, given) for given in streams))
    assert {result["full_result"]["reward"] for _, result, _ in [*many, *one, *tools]} == {1.0}
    indexes = [index for index, _, _ in many]
    assert all(len({index // 4 for index in indexes[at : at + 4]}) == 1 for at in range(0, len(indexes), 4))
    assert [len(result["message_log"]) for _, result, _ in tools] == [6, 6], "three model calls, one chain"
    assert len(scan(RunDir(str(tmp_path / "run"))).done) == 400 + 8 + 2

    given = rows("sum 1 1", "refused 1", "sum 2 2")
    given[4]["expected"] = given[5]["expected"] = "no number"
    found = {index: result["full_result"] for index, result, _ in await stream(actor, given)}
    assert [found[index]["instance_config"]["mask_sample"] for index in range(6)] == [False, False, *[True] * 4]
    assert [found[index]["failure_kind"] for index in (2, 4)] == ["model_rejected_request", "bad_task"]
    wrongs = [([], "no rows"), (rows("sum 1", agent="nobody"), "`nobody`"), ([{"_rowidx": 0}], "agent_ref")]
    for wrong, said in wrongs:
        with pytest.raises(ValueError, match=said):
            await stream(actor, wrong)

    ray.kill(actor, no_restart=False)
    again = await restarted(actor, rows("sum 3 3"))
    assert {result["full_result"]["reward"] for _, result, _ in again} == {1.0}
    await actor.shutdown.remote()
    ray.kill(actor)


async def restarted(actor: Any, given: list[Json]) -> list[tuple[int, Json, Json | None]]:
    """The stream of an actor that was killed, asked again as the trainer does until Ray has brought it back."""
    for _ in range(60):
        try:
            return await stream(actor, given)
        except ray.exceptions.RayActorError:
            await asyncio.sleep(0.5)
    raise AssertionError("the actor did not come back")


async def test_older_releases_get_a_list_in_the_order_of_the_rows(cfg: Callable[..., Json]) -> None:
    gym = ListGym(cfg("Sum"))
    assert await gym.health_check() is True
    given = rows(*(f"sum {number} 1" for number in range(10)))
    results, timings = await gym.run_rollouts(given, None, PREFIX)
    assert [result["full_result"]["expected"] for result in results] == [row["expected"] for row in given]
    for result in results:
        read_strictly(result)
    assert timings[f"{PREFIX}/await_results"] > 0
    await gym.shutdown()


async def test_a_group_lost_to_servers_that_are_away_is_a_connection_error(cfg: Callable[..., Json]) -> None:
    gym = ListGym(cfg("Sum", base_urls=["http://127.0.0.1:9/v1"]))
    with pytest.raises(ConnectionError, match="every rollout of a group was lost") as raised:
        await gym.run_rollouts(rows("sum 1 1"), None, PREFIX)
    assert type(raised.value) is ConnectionError, "any process can unpickle it"
    await gym.shutdown()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "names no resources server"),
        ({"require_routed_experts": True}, "router_replay"),
        ({"tokenizer_config": {"name": "x"}}, "is_vlm"),
    ],
)
async def test_settings_that_cannot_work_are_a_value_error(cfg: Callable[..., Json], changes: Json, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        await StreamingGym({**cfg(), **changes})._spinup()
