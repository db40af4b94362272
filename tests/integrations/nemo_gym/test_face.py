"""Our environments behind NeMo Gym's routes, called as its agents call them: over a socket, with cookies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from gym_ray.agents.base import AgentConfig
from gym_ray.agents.load import make_agent
from gym_ray.collect.attempt import RolloutMaker
from gym_ray.integrations.nemo_gym.aggregate import aggregated
from gym_ray.integrations.nemo_gym.face import Face
from gym_ray.models.config import ModelConfig
from gym_ray.models.connect import connect_model
from gym_ray.models.sampling import effective_params
from gym_ray.models.serve.listener import Listener
from gym_ray.resources.config import EnvironmentConfig
from gym_ray.resources.connect import connect
from gym_ray.types.items import assistant_message
from tests.support.endpoint import Endpoint

SUM = EnvironmentConfig(server="tests/support/envs.py:Sum")
COUNTER = EnvironmentConfig(server="tests/support/envs.py:Counter")
BLACKJACK = EnvironmentConfig(server="gym_ray.environments.blackjack:Blackjack")


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    # As NeMo Gym's client: no jar, cookies are passed on by hand.
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield session


class Server:
    """A face on loopback, and one client's way to talk to it."""

    def __init__(self, face: Face, client: aiohttp.ClientSession) -> None:
        self._listener, self._client = Listener(face.app), client
        self.cookies: dict[str, str] = {}

    async def __aenter__(self) -> Server:
        self.address = await self._listener.open("127.0.0.1")
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self._listener.close(1.0)

    async def post(self, path: str, body: Any, status: int = 200) -> Any:
        async with self._client.post(self.address + path, json=body, cookies=self.cookies) as answer:
            self.cookies |= {name: morsel.value for name, morsel in answer.cookies.items()}
            text = await answer.text()
            assert answer.status == status, text
            return await answer.json(content_type=None)


def row(**fields: Any) -> dict[str, Any]:
    return {"responses_create_params": {"input": "go"}, **fields}


def response(*texts: str) -> dict[str, Any]:
    return {"id": "r", "object": "response", "output": [assistant_message(text) for text in texts]}


async def test_tools_and_verdict_share_the_cookies_session(client: aiohttp.ClientSession) -> None:
    resources = connect("counter", COUNTER)
    async with Server(Face("counter", resources), client) as one:
        other = Server.__new__(Server)
        other.address, other._client, other.cookies = one.address, client, {}
        for server in (one, other):
            assert await server.post("/seed_session", row(bumps=2)) == {}
        assert [await server.post("/bump", {}) for server in (one, other, one)] == [1, 1, 2]
        verdicts = [
            await server.post("/verify", {**row(bumps=2), "response": response(text)})
            for server, text in ((one, "2"), (other, "1"))
        ]
        assert [verdict["reward"] for verdict in verdicts] == [1.0, 0.0]
        assert verdicts[0]["mask_sample"] is False
        assert verdicts[0]["bumps"] == 2
        assert "no session" in (await one.post("/bump", {}, 422))["detail"]
    await resources.aclose()


async def test_a_stateless_environment_needs_no_seed_and_bad_rows_are_named(client: aiohttp.ClientSession) -> None:
    resources = connect("sum", SUM)
    async with Server(Face("sum", resources), client) as server:
        verdict = await server.post("/verify", {**row(expected=5), "response": response("5")})
        assert (verdict["reward"], verdict["answer"]) == (1.0, "5")
        assert "expected" in (await server.post("/verify", {**row(), "response": response("5")}, 422))["detail"]
        assert "malformed" in (await server.post("/verify", row(expected=5), 422))["detail"]
        assert "start it with model=NAME" in (await server.post("/run", row(expected=5), 500))["detail"]
        async with client.get(f"{server.address}/reverify_mode") as mode:
            assert await mode.json(content_type=None) == "stateless"
    await resources.aclose()


async def test_what_cannot_be_judged_is_masked_not_scored(client: aiohttp.ClientSession) -> None:
    resources = connect("trouble", EnvironmentConfig(server="tests/support/envs.py:Trouble"))
    async with Server(Face("trouble", resources), client) as server:
        verdict = await server.post("/verify", {**row(trouble="raise"), "response": response("x")})
    await resources.aclose()
    assert verdict["mask_sample"] is True
    assert verdict["instance_config"] == {"mask_sample": True}
    assert verdict["failure_kind"] == "verifier_error"


async def test_steps_of_a_game(client: aiohttp.ClientSession) -> None:
    resources = connect("blackjack", BLACKJACK)
    async with Server(Face("blackjack", resources), client) as server:
        first = await server.post("/reset", row(seed=3))
        assert first["observation"]
        step = {"terminated": False}
        for _ in range(12):
            step = await server.post("/step", {**row(seed=3), "response": response("<action>stand</action>")})
            if step["terminated"]:
                break
        assert step["terminated"]
        assert "no session" in (await server.post("/step", {**row(), "response": response("x")}, 422))["detail"]
    await resources.aclose()


async def test_a_whole_rollout_by_run_and_by_responses(client: aiohttp.ClientSession) -> None:
    agent_config = AgentConfig(max_turns=4)
    resources = connect("sum", SUM)
    async with Endpoint(lambda call: "5" if "go" in call.question else "6") as endpoint:
        config = ModelConfig(base_url=endpoint.base_url, name="scripted", dialect="chat")
        model = connect_model(config, None)
        maker = RolloutMaker(make_agent(agent_config, gymnasium=False), "sum", agent_config, model, resources, 1)
        face = Face("sum", resources, maker, lambda params: effective_params(params, config, []))
        async with Server(face, client) as server:
            done = await asyncio.gather(*(server.post("/run", row(expected=n, _ng_task_index=n)) for n in (5, 6)))
            assert [(one["reward"], one["_ng_task_index"]) for one in done] == [(1.0, 5), (0.0, 6)]
            assert done[0]["response"]["output"][-1]["content"][0]["text"] == "5"
            await server.post("/seed_session", row(expected=6))
            answer = await server.post("/v1/responses", {"input": "come"})
            assert answer["output"][-1]["content"][0]["text"] == "6"
            assert (await server.post("/verify", {**row(expected=6), "response": answer}))["reward"] == 1.0
            metrics = await server.post("/aggregate_metrics", {"verify_responses": done})
            assert metrics["key_metrics"] == {"mean/reward": 0.5}
        await model.close()
    await resources.aclose()


def test_masked_answers_enter_no_statistic() -> None:
    answers = [
        {"_ng_task_index": 0, "reward": 1.0, "length": 3, "mask_sample": False},
        {"_ng_task_index": 0, "reward": 0.0, "length": 5},
        {"_ng_task_index": 1, "reward": 0.0, "mask_sample": True},
    ]
    metrics = aggregated(answers)
    assert metrics["agent_metrics"]["mean/reward"] == 0.5
    assert metrics["agent_metrics"]["max/length"] == 5
    assert metrics["agent_metrics"]["coverage/masked_rollouts"] == 1
    assert [group["num_rollouts"] for group in metrics["group_level_metrics"]] == [2]
    assert aggregated(answers[2:])["key_metrics"] == {}
