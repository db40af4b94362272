"""The embedded policy on a real vLLM engine, in a replica, through both doors."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
import yaml

from gym_ray.models.config import ModelConfig
from gym_ray.models.protocol import ModelReply, ModelRequest
from gym_ray.models.turn import TurnModel
from gym_ray.types.items import function_call_output, function_calls, user_message
from gym_ray.types.tokens import segments_of
from gym_ray.types.trajectory import FinishReason
from tests.support.processes import descendants, kill, named, wait_for

pytestmark = [pytest.mark.ray, pytest.mark.vllm]
TINY = Path(__file__).parents[3] / "conf" / "model" / "tiny.yaml"
PORT = 18423
TAKE = {
    "type": "function",
    "name": "take",
    "description": "Take things.",
    "parameters": {"type": "object", "properties": {"count": {"type": "integer"}}, "required": ["count"]},
}


@pytest.fixture(scope="module")
def config() -> ModelConfig:
    settings = yaml.safe_load(TINY.read_text())
    settings["serve"]["http_port"] = PORT
    # Constraints hold once thinking has ended; how long the policy thinks is not for these tests to know.
    settings["serve"]["chat_template_kwargs"] = {"enable_thinking": False}
    return ModelConfig.model_validate(settings)


@pytest.fixture(scope="module")
def endpoints(ray_cluster: Any, config: ModelConfig) -> Iterator[Any]:
    from ray import serve

    from gym_ray.models.serve.deployment import deploy, undeploy

    serve.shutdown()  # Other tests may have started it without the public face.

    yield deploy(config, "tiny")
    undeploy("tiny")


@pytest.fixture
async def model(config: ModelConfig, endpoints: Any) -> Any:
    client = TurnModel(config, endpoints)
    yield client
    await client.close()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def cpu_seconds(pids: Iterable[int], during_s: float) -> float:
    """Processor time that ``pids`` spend in the next ``during_s`` seconds."""

    def spent() -> float:
        stats = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
        return sum(int(stat[11]) + int(stat[12]) for stat in stats) / os.sysconf("SC_CLK_TCK")

    before = spent()
    await asyncio.sleep(during_s)
    return spent() - before


async def ask(model: TurnModel, items: list[Any], **params: Any) -> ModelReply:
    params = {"max_output_tokens": 60, "metadata": {"extra_body": '{"seed": 1}'}, **params}
    return await model.respond(ModelRequest(params, items, "session"))


async def test_three_turns_with_tools_are_one_contiguous_segment(model: TurnModel) -> None:
    # Long enough to fill a block of the prefix cache, 128 tokens.
    asked = [user_message("take some cups " * 40)]
    request = ModelRequest({"tools": [TAKE], "tool_choice": "required"}, asked, "session")
    turns = []
    for _ in range(3):
        reply = await model.respond(request)
        call = function_calls(reply.items)[0]
        assert call["name"] == "take"
        assert isinstance(json.loads(call["arguments"])["count"], int)
        assert reply.finish_reason == FinishReason.TOOL_CALLS
        assert reply.tokens is not None
        assert len(reply.tokens.sampled) == len(reply.tokens.logprobs) == reply.usage.completion_tokens
        assert all(logprob <= 0 for logprob in reply.tokens.logprobs)
        turns.append(reply.tokens)
        seen = [*request.items, *reply.items]
        items = [*seen, *(function_call_output(one["call_id"], "done") for one in function_calls(reply.items))]
        request = ModelRequest(request.params, items, "session", reply.tokens, len(seen))
    assert len(segments_of(turns)) == 1
    assert reply.usage.cached_tokens > 0


async def test_the_same_seed_says_the_same_and_another_does_not(model: TurnModel) -> None:
    items = [user_message("say something")]
    same = [await ask(model, items) for _ in range(2)]
    other = await ask(model, items, metadata={"extra_body": '{"seed": 2}'})
    first, second, third = (reply.tokens.sampled for reply in (*same, other) if reply.tokens)
    assert first == second != third


async def test_limits_end_a_turn_by_name(model: TurnModel, config: ModelConfig) -> None:
    window = config.serve.engine_args["max_model_len"]
    on = {"metadata": {"extra_body": '{"ignore_eos": true}'}}
    cut = await ask(model, [user_message("go")], max_output_tokens=5, **on)
    assert (cut.finish_reason, cut.usage.completion_tokens) == (FinishReason.LENGTH, 5)
    nearly = [user_message("1 " * (window // 2 - 20))]
    full = await ask(model, nearly, max_output_tokens=None, **on)
    assert full.finish_reason == FinishReason.CONTEXT_WINDOW
    assert full.usage.prompt_tokens + full.usage.completion_tokens == window
    over = await ask(model, [user_message("1 " * window)])
    assert (over.finish_reason, over.items, over.tokens) == (FinishReason.CONTEXT_WINDOW, [], None)


async def test_stop_strings_and_bad_parameters(model: TurnModel) -> None:
    forced = {"structured_outputs": {"choice": ["red, green"]}, "stop": ["een"]}
    reply = await ask(model, [user_message("go")], metadata={"extra_body": json.dumps(forced)})
    assert reply.finish_reason == FinishReason.STOP
    with pytest.raises(Exception, match="temperature"):
        await ask(model, [user_message("go")], temperature=-1)


async def test_an_openai_client_gets_a_structured_answer_through_the_public_face(endpoints: Any) -> None:
    client = openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{PORT}/v1", api_key="none", max_retries=0)
    assert [model.id async for model in await client.models.list()] == ["tiny"]
    schema: Any = {
        "type": "object",
        "properties": {"color": {"enum": ["red", "blue"]}},
        "required": ["color"],
        "additionalProperties": False,
    }
    form: Any = {"type": "json_schema", "json_schema": {"name": "color", "schema": schema, "strict": True}}
    completion = await client.chat.completions.create(
        model="tiny", messages=[{"role": "user", "content": "a color?"}], response_format=form, max_tokens=200
    )
    message = completion.choices[0].message
    said = (message.content or "") + (getattr(message, "reasoning", None) or "")
    assert json.loads(said[said.index("{") :])["color"] in ("red", "blue")
    response = await client.responses.create(model="tiny", input="hello", max_output_tokens=8)
    assert response.output
    assert response.usage is not None
    assert 1 <= response.usage.output_tokens <= 8


STREAMED: dict[str, Any] = {
    "plain": {},
    "thinking": {"chat_template_kwargs": {"enable_thinking": True}},
    "calls": {"tools": [{"type": "function", "function": {k: v for k, v in TAKE.items() if k != "type"}}]},
    "forced": {
        "tools": [{"type": "function", "function": {k: v for k, v in TAKE.items() if k != "type"}}],
        "tool_choice": "required",
        "parallel_tool_calls": False,
    },
    "stop": {"stop": ["e", "a"], "top_logprobs": 3},
}


@pytest.mark.parametrize("kind", STREAMED)
async def test_a_stream_adds_up_to_the_same_call_unstreamed(endpoints: Any, kind: str) -> None:
    client = openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{PORT}/v1", api_key="none", max_retries=0)
    body = {**STREAMED[kind], "return_token_ids": True}
    asked: Any = {
        "model": "tiny",
        "messages": [{"role": "user", "content": "Take some cups."}],
        "max_tokens": 150,
        "seed": 5,
        "logprobs": True,
        "extra_body": body,
    }
    plain = (await client.chat.completions.create(**asked)).model_dump()["choices"][0]
    chunks = [chunk.model_dump() async for chunk in await client.chat.completions.create(**asked, stream=True)]
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    assert len(choices) > 3
    assert [token for choice in choices for token in choice.get("token_ids") or []] == plain["token_ids"]
    entries = [entry for choice in choices for entry in (choice["logprobs"] or {}).get("content") or []]
    assert entries == plain["logprobs"]["content"]
    assert {len(entry["top_logprobs"]) for entry in entries} == {3 if kind == "stop" else 0}
    message = plain["message"]
    for name in ("content", "reasoning"):
        assert "".join(choice["delta"].get(name) or "" for choice in choices) == (message.get(name) or "")
    said = [call["function"]["arguments"] for choice in choices for call in choice["delta"].get("tool_calls") or []]
    assert "".join(said) == "".join(call["function"]["arguments"] for call in message["tool_calls"] or [])
    assert choices[-1]["finish_reason"] == plain["finish_reason"]
    if kind == "forced":
        assert len(message["tool_calls"]) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"seed": "x"},
        {"seed": 1 << 70},
        {"top_k": 1.5},
        {"stop_token_ids": ["a"]},
        {"stop_token_ids": [-5]},
        {"logit_bias": {"x": 1}},
        {"logit_bias": {"999999": 1}},
        {"top_logprobs": 1000},
        {"min_tokens": -1},
        {"stop": [""]},
        {"bad_words": [""]},
        {"allowed_token_ids": []},
        {"allowed_token_ids": [10**6]},
        {"temperature": 1e-40},
        {"structured_outputs": {"jason": 1}},
        {"structured_outputs": {"json": "{"}},
        {"structured_outputs": {"regex": "("}},
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "no such"}}}},
        {"response_format": {"type": "json_schema"}},
        {"response_format": "json"},
        {"tools": [{"type": "function"}]},
        {"tools": "none"},
        {"chat_template_kwargs": "none"},
        {"chat_template_kwargs": {"tokenize": True}},
        {"messages": [{"role": "user", "content": 5}]},
        {"messages": [{"role": "user"}]},
        {"messages": ["go"]},
        {"messages": []},
        {"messages": [{"role": "assistant", "content": "a", "prompt_token_ids": ["x"], "generation_token_ids": [1]}]},
        {"messages": [{"role": "assistant", "content": "a", "prompt_token_ids": [-1], "generation_token_ids": [1]}]},
        {"messages": [{"role": "assistant", "content": "a", "prompt_token_ids": [1], "generation_token_ids": [10**6]}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
    ],
    ids=str,
)
async def test_nothing_that_a_client_sends_hurts_the_engine(endpoints: Any, wrong: dict[str, Any]) -> None:
    body = {"model": "tiny", "messages": [{"role": "user", "content": "go"}], "max_tokens": 4, **wrong}
    url = f"http://127.0.0.1:{PORT}"
    async with aiohttp.ClientSession() as session:
        async with session.post(f"{url}/v1/chat/completions", json=body) as response:
            reply = await response.json()
            assert response.status in (200, 400), reply
        good = {"model": "tiny", "messages": [{"role": "user", "content": "go"}], "max_tokens": 4}
        async with session.post(f"{url}/v1/chat/completions", json=good) as response:
            assert response.status == 200


async def test_leaving_stops_the_engine_and_death_takes_its_processes(model: TurnModel, endpoints: Any) -> None:
    (replica,) = named(os.getpid(), "ServeReplica:tiny")
    engine = descendants(replica)
    assert engine
    endless = {"max_output_tokens": None, "metadata": {"extra_body": '{"ignore_eos": true}'}}
    calls = [asyncio.create_task(ask(model, [user_message(f"go {n}")], **endless)) for n in range(64)]
    await asyncio.sleep(1.0)
    busy = await cpu_seconds(engine, 1.5)
    for call in calls:
        call.cancel()
    await asyncio.wait(calls)
    await asyncio.sleep(1.0)
    # Left alone, 64 answers of 4,000 tokens would take the better part of a minute.
    assert await cpu_seconds(engine, 1.5) < busy / 4

    kill(replica)
    await asyncio.to_thread(wait_for, lambda: not any(map(alive, engine)), 15, "the engine's processes end")
