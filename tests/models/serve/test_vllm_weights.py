"""Live weights on a real engine: which weights sampled which token, token by token."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from gym_ray.models.config import ModelConfig, ServeConfig
from gym_ray.models.protocol import ModelReply, ModelRequest
from gym_ray.models.turn import TurnModel
from gym_ray.types.items import user_message
from gym_ray.types.tokens import TurnTokens
from tests.models.serve.fakes import WEIGHTS

pytestmark = [pytest.mark.ray, pytest.mark.vllm]
APP = "weights"
CONF = Path(__file__).parents[3] / "conf"
TOLERANCE = 1e-3
"""Largest difference of a logprob between the engine and transformers, both in float32."""


def perturbed(seed: int) -> dict[str, torch.Tensor]:
    """The embedded policy's weights with noise: another policy of the same shape."""
    generator = torch.Generator().manual_seed(seed)
    tensors = load_file(WEIGHTS / "model.safetensors")
    return {name: one + 0.1 * torch.randn(one.shape, generator=generator) for name, one in tensors.items()}


@pytest.fixture(scope="module")
def config() -> ModelConfig:
    tiny = yaml.safe_load((CONF / "model" / "tiny.yaml").read_text())["serve"]
    arguments = tiny["engine_args"] | {"max_model_len": 2048, "dtype": "float32"}
    serve = ServeConfig(path=str(WEIGHTS), engine_args=arguments, env=tiny["env"], chat_template_kwargs={})
    return ModelConfig(kind="vllm", name="tiny", serve=serve)


@pytest.fixture(scope="module")
def endpoints(ray_cluster: Any, config: ModelConfig) -> Iterator[Any]:
    from gym_ray.models.serve.deployment import deploy, undeploy

    yield deploy(config, APP)
    undeploy(APP)


@pytest.fixture
def control(endpoints: Any) -> Any:
    from gym_ray.models.serve.control import ModelControl

    return ModelControl(APP, timeout_s=60.0)


@pytest.fixture
async def model(config: ModelConfig, endpoints: Any) -> AsyncIterator[TurnModel]:
    client = TurnModel(config, endpoints)
    yield client
    await client.close()


def policy(tensors: dict[str, torch.Tensor] | None = None) -> Any:
    """The same weights in transformers."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(WEIGHTS, dtype=torch.float32)
    if tensors is not None:
        model.load_state_dict(tensors, strict=False)
        model.tie_weights()
    return model


def differences(model: Any, tokens: TurnTokens) -> torch.Tensor:
    """Per sampled token: how far the recorded logprob is from that of ``model``, teacher forced."""
    with torch.no_grad():
        logits = model(torch.tensor([tokens.prompt + tokens.sampled])).logits[0, len(tokens.prompt) - 1 : -1]
    said = torch.log_softmax(logits, -1).gather(1, torch.tensor(tokens.sampled)[:, None])[:, 0]
    return (said - torch.tensor(tokens.logprobs)).abs()


async def ask(model: TurnModel, text: str = "count to ten", tokens: int = 40) -> TurnTokens:
    return exact(await call(model, text, tokens))


async def call(model: TurnModel, text: str, tokens: int) -> ModelReply:
    params = {"max_output_tokens": tokens, "metadata": {"extra_body": '{"ignore_eos": true, "seed": 3}'}}
    return await model.respond(ModelRequest(params, [user_message(text)], "session"))


def exact(reply: ModelReply) -> TurnTokens:
    assert reply.tokens is not None
    return reply.tokens


LONG = "one two three four five six seven eight nine ten " * 12


async def seconds_for(tokens: int, model: TurnModel) -> float:
    """How long it takes now to sample so many tokens in each of four calls."""
    began = time.monotonic()
    await asyncio.gather(*(ask(model, f"how long {number}", tokens) for number in range(4)))
    return time.monotonic() - began


async def test_from_a_directory_and_from_tensors_alike_and_no_cached_block_outlives_its_weights(
    control: Any, model: TurnModel, tmp_path: Path
) -> None:
    tensors = perturbed(1)
    save_file(tensors, tmp_path / "model.safetensors")
    first = exact(await call(model, LONG, 20))
    again = await call(model, LONG, 20)
    assert again.usage.cached_tokens > 0
    assert first.version == 0
    update = await asyncio.to_thread(control.update_weights, path=str(tmp_path))
    reply = await call(model, LONG, 20)
    second = exact(reply)
    assert reply.usage.cached_tokens == 0
    assert second.version == update.version == 1
    assert second.sampled != first.sampled
    assert differences(policy(tensors), second).max() < TOLERANCE
    assert differences(policy(), second).max() > 10 * TOLERANCE
    # Back to the old ones, by tensors; and once more to the new ones.
    await asyncio.to_thread(control.update_weights, tensors=load_file(WEIGHTS / "model.safetensors"))
    third = exact(await call(model, LONG, 20))
    assert (third.version, third.sampled) == (2, first.sampled)
    await asyncio.to_thread(control.update_weights, tensors=tensors)
    fourth = exact(await call(model, LONG, 20))
    assert (fourth.version, fourth.sampled) == (3, second.sampled)


async def test_an_update_in_flight_splits_a_generation_exactly_at_the_switch(control: Any, model: TurnModel) -> None:
    old, new = perturbed(1), perturbed(2)
    now = (await asyncio.to_thread(control.update_weights, tensors=old)).version
    some_way = await seconds_for(150, model)
    calls = [asyncio.create_task(ask(model, f"story {number}", 700)) for number in range(4)]
    await asyncio.sleep(some_way)
    update = await asyncio.to_thread(control.update_weights, tensors=new, mode="keep")
    assert 0 < update.pause_s < 30
    old_policy, new_policy = policy(old), policy(new)
    for tokens in await asyncio.gather(*calls):
        versions = tokens.version
        assert isinstance(versions, list), "the update came before or after the call; make it longer"
        switch = versions.index(now + 1)
        assert versions == [now] * switch + [now + 1] * (700 - switch)
        assert 0 < switch < 700
        assert differences(old_policy, tokens)[:switch].max() < TOLERANCE
        assert differences(new_policy, tokens)[switch:].max() < TOLERANCE
        assert differences(old_policy, tokens)[switch:].max() > 10 * TOLERANCE


@pytest.mark.parametrize("mode", ["wait", "abort"])
async def test_the_other_modes_leave_no_call_with_two_versions(control: Any, model: TurnModel, mode: Any) -> None:
    before = control.version()
    some_way = await seconds_for(100, model)
    calls = [asyncio.create_task(ask(model, f"tale {number}", 300)) for number in range(4)]
    await asyncio.sleep(some_way)
    late = asyncio.create_task(asyncio.to_thread(control.update_weights, tensors=perturbed(before), mode=mode))
    await asyncio.sleep(0.2 if mode == "wait" else 0.0)
    after = asyncio.create_task(ask(model, "a late one"))
    await late
    versions = [tokens.version for tokens in await asyncio.gather(*calls)]
    assert versions == [before if mode == "wait" else before + 1] * 4
    assert (await after).version == before + 1


async def test_a_pause_freezes_and_nothing_is_lost(control: Any, model: TurnModel) -> None:
    some_way = await seconds_for(100, model)
    running = asyncio.create_task(ask(model, "go", 400))
    await asyncio.sleep(some_way)
    await asyncio.to_thread(control.pause, "keep")
    held = asyncio.create_task(ask(model, "wait"))
    await asyncio.sleep(2.0)
    assert not running.done()
    assert not held.done()
    version = (await asyncio.to_thread(control.update_weights, tensors=perturbed(9))).version
    await asyncio.sleep(0.5)
    assert not held.done(), "an update does not end a pause"
    await asyncio.to_thread(control.resume)
    assert len((await running).sampled) == 400
    assert (await held).version == version


async def test_a_long_prompt_with_a_seed_does_not_kill_the_engine(model: TurnModel) -> None:
    crowd = [ask(model, f"{number} " + "more words " * 350, 8) for number in range(12)]
    assert all(len(tokens.sampled) == 8 for tokens in await asyncio.gather(*crowd))
