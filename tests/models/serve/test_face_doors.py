"""Both doors of a deployment on a real Ray: who is let in, and streams through Ray Serve's proxy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import aiohttp
import openai
import pytest

from gym_ray.models.config import ModelConfig, ServeConfig
from gym_ray.models.protocol import ModelRequest
from gym_ray.models.turn import TurnModel
from gym_ray.types.errors import RolloutError, UserError
from gym_ray.types.items import item_text, user_message

pytestmark = pytest.mark.ray
SCRIPTED = "tests.models.serve.scripted:ScriptedModel"
PORT = 18424
KEY, VARIABLE = "a-key-of-the-user", "GYM_RAY_TEST_SERVE_KEY"


def config(**settings: Any) -> ModelConfig:
    serve = ServeConfig(engine=SCRIPTED, num_cpus=0.1, startup_timeout_s=60.0, http_port=PORT, **settings)
    return ModelConfig(kind="vllm", name="scripted", timeout_s=60.0, serve=serve)


@pytest.fixture(scope="module")
def locked(ray_cluster: Any) -> Iterator[Any]:
    from ray import serve

    from gym_ray.models.serve.deployment import deploy, undeploy

    serve.shutdown()  # Other tests may have started it without the public face.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, KEY)
        endpoints = deploy(config(api_key_env=VARIABLE), "locked")
    yield endpoints
    undeploy("locked")
    serve.shutdown()


async def status(url: str, key: str | None) -> int:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with aiohttp.ClientSession(headers=headers) as session, session.get(url) as response:
        return response.status


async def test_each_door_opens_to_its_own_keys(locked: Any) -> None:
    (own,) = await locked()
    public, token = f"http://127.0.0.1:{PORT}", locked.token()
    assert len(token) > 40
    doors: list[tuple[str, dict[str | None, int]]] = [
        (own, {token: 200, KEY: 200, None: 401, "no": 401}),
        (public, {KEY: 200, token: 401, None: 401}),
    ]
    for base, keys in doors:
        for key, expected in keys.items():
            assert await status(f"{base}/v1/models", key) == expected
        assert await status(f"{base}/health", None) == 200


async def test_agents_have_the_token_by_themselves(locked: Any) -> None:
    model = TurnModel(config(), locked)
    reply = await model.respond(ModelRequest({}, [user_message("go")], "s"))
    await model.close()
    assert item_text(reply.items[0]) == "ok"

    async def strangers() -> list[str]:
        bases: list[str] = await locked()
        return bases

    stranger = TurnModel(config(), strangers)
    with pytest.raises(RolloutError, match="wants a key") as caught:
        await stranger.respond(ModelRequest({}, [user_message("go")], "s"))
    await stranger.close()
    assert locked.token() not in str(caught.value)


async def test_streams_pass_the_public_door(locked: Any) -> None:
    client = openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{PORT}/v1", api_key=KEY, max_retries=0)
    chunks = [
        chunk
        async for chunk in await client.chat.completions.create(
            model="x", messages=[{"role": "user", "content": "go"}], stream=True
        )
    ]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "ok"
    events = [event async for event in await client.responses.create(model="x", input="go", stream=True)]
    assert events[-1].type == "response.completed"


def test_a_key_that_is_not_there_is_told_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    from gym_ray.models.serve.deployment import deploy

    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(UserError, match=f"model.serve.api_key_env.*{VARIABLE}"):
        deploy(config(api_key_env=VARIABLE), "keyless")
