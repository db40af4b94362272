"""Agents as their users write them: programs of their own, which know nothing of us, from first call to training.

Those written with the plain client run against a scripted model in every suite. All of them run against the real
engine in ``scripts/test_agents``, which gives them a venv of their own (``AGENTS_PYTHON``); one deployment serves
these tests.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gym_ray.agents.base import AgentConfig
from gym_ray.agents.load import make_agent
from gym_ray.collect.attempt import Flight, RolloutMaker, TaskSpec
from gym_ray.environments.workplace.generate import EASY_TOOLSET, generate
from gym_ray.models import tiny
from gym_ray.models.protocol import ModelReply, ModelRequest
from gym_ray.types.items import assistant_message, function_call, item_text, reasoning
from gym_ray.types.outcome import Outcome
from tests.agents.elsewhere import free_port, program, speak
from tests.agents.scripted import MemoryResources, ScriptedModel, context_of
from tests.support.processes import wait_for
from tests.support.runs import check_exactly_once, jsonl_rows

Json = dict[str, Any]
PYTHON = os.environ.get("AGENTS_PYTHON", "")
AGENTS = ("chat_loop", "responses_loop", "react_graph", "agents_sdk")
PLAIN = AGENTS[:2]
WEIGHTS = str(Path(tiny.__file__).parent / "weights")
real = [pytest.mark.integrations, pytest.mark.ray, pytest.mark.vllm]
LOOK = {"type": "function", "name": "look", "description": "Look.", "parameters": {"type": "object", "properties": {}}}


def url(port: int) -> str:
    return f"http://127.0.0.1:{port}/run"


@pytest.mark.parametrize("name", PLAIN)
async def test_a_tool_loop_is_one_contiguous_sequence(name: str) -> None:
    turns = [[reasoning("hm"), function_call("look", "{}", "call_0")], [assistant_message("It is red.")]]
    model = ScriptedModel(speak(*turns))
    context = context_of(model, MemoryResources({"look": lambda: "red"}), temperature=1.0, tools=[LOOK])
    port = free_port()
    with program(name, port):
        await make_agent(AgentConfig(kind="http", url=url(port)), gymnasium=False).run(context)
    trajectory = context.trajectory
    kinds = [item["type"] for item in trajectory.items]
    assert kinds == ["reasoning", "function_call", "function_call_output", "message"]
    assert (trajectory.items[2]["output"], trajectory.text) == ("red", "It is red.")
    assert [turn.tokens.prompt for turn in trajectory.turns if turn.tokens] == [[1, 2], [1, 2, 101, 50]]
    assert model.requests[0].params["temperature"] == 1.0
    assert "seed" not in model.requests[0].params


async def test_an_agent_that_dies_and_comes_back_loses_nothing() -> None:
    """Killed with eight rollouts in its hands; a second one takes its place, and takes up all of them."""
    waiting = asyncio.Event()
    alive = asyncio.Event()

    class Slow(ScriptedModel):
        async def respond(self, request: ModelRequest) -> ModelReply:
            if len(self.requests) >= 8:
                waiting.set()
                await alive.wait()
            return await super().respond(request)

    def answer(request: ModelRequest) -> ModelReply:
        return speak([assistant_message("x")])(request)

    port = free_port()
    agent = make_agent(AgentConfig(kind="http", url=url(port)), gymnasium=False)
    maker = RolloutMaker(agent, "HttpAgent", agent.config, Slow(answer), MemoryResources(), max_attempts=3)
    row = {"responses_create_params": {"input": "go"}}
    task = TaskSpec(0, "t", "env", json.dumps(row).encode(), row, {})
    with program("chat_loop", port) as first:
        rollouts = [asyncio.create_task(maker.make(task, index, Flight(f"env/t/{index}"))) for index in range(16)]
        await waiting.wait()
        first.kill()
        first.wait()
        alive.set()
    with program("chat_loop", port):
        made = await asyncio.gather(*rollouts)
    assert {one.outcome for one in made} == {Outcome.SCORED}
    assert {one.attempt for one in made} == {0, 1}, "some were done before it died, the others went again"
    assert all(one.trajectory is not None and len(one.trajectory.turns) == 1 for one in made)


@pytest.fixture
def words(one_deployment: None, tmp_path: Path) -> Callable[..., list[str]]:
    """``words(port, count)``: what a run with that agent over so many office tasks is asked for with."""

    def make(port: int, count: int, *more: str) -> list[str]:
        rows = generate(count, 7, "easy")
        (tmp_path / "tasks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return [
            "env=workplace_easy",
            "model=tiny",
            "agent=http",
            f"agent.url={url(port)}",
            f"tasks={tmp_path}/tasks.jsonl",
            f"run_dir={tmp_path}/run",
            *more,
        ]

    return make


@pytest.fixture(scope="module")
def one_deployment(ray_cluster: Json) -> Iterator[None]:
    """Deploying the same settings again changes nothing; taking it down is left to the end."""
    if not PYTHON:
        pytest.skip("AGENTS_PYTHON names no venv: scripts/test_agents")
    from gym_ray.models.serve import deployment

    with pytest.MonkeyPatch.context() as patch:
        undeploy = deployment.undeploy
        used: set[str] = set()
        patch.setattr(deployment, "undeploy", used.add)
        yield
        for name in used:
            undeploy(name)


def gather(words: list[str]) -> Any:
    from gym_ray.cli.compose import compose_settings
    from gym_ray.collect.config import RunConfig
    from gym_ray.collect.driver import collect

    return collect(compose_settings(words, RunConfig)[0])


def check_tokens(row: Json, tokenizer: Any) -> None:
    """One exact sequence, and its ids say what the agent was told, sampled and injected alike."""
    output = row["response"]["output"]
    assert len(row["gym_ray"]["segments"]) == 1
    before: list[int] = []
    said: list[Json] = []
    for item in output:
        if item["type"] == "function_call_output":
            said = []
            continue
        said.append(item)
        if "generation_token_ids" not in item:
            continue
        prompt, sampled = item["prompt_token_ids"], item["generation_token_ids"]
        assert len(sampled) == len(item["generation_log_probs"])
        assert all(math.isfinite(one) and one <= 0 for one in item["generation_log_probs"])
        assert prompt[: len(before)] == before, "each prompt begins with all ids there were"
        check_text(said, tokenizer.decode(sampled))
        before = prompt + sampled
    whole = tokenizer.decode(before)
    at, last = 0, max(number for number, item in enumerate(output) if "generation_token_ids" in item)
    for item in output[:last]:
        if item["type"] == "function_call_output":
            at = whole.index(item["output"].strip(), at)


def check_text(said: list[Json], text: str) -> None:
    """What was read from ``text`` stands there, in this order. Parsers take the marks of thoughts out, and write
    arguments anew (of two values under one key they keep the last), so those are compared as JSON."""
    text, at = text.replace("<think>", "").replace("</think>", ""), 0
    for item in said:
        if item["type"] == "function_call":
            at = text.index("{", text.index("arguments", text.index(item["name"], at)))
            found, at = json.JSONDecoder().raw_decode(text, at)
            assert found == json.loads(item["arguments"])
        else:
            at = text.index(item_text(item).strip(), at)


class TestWithTheRealEngine:
    pytestmark = real

    @pytest.mark.parametrize("name", AGENTS)
    def test_collected_with_exact_tokens(self, name: str, words: Callable[..., list[str]], tmp_path: Path) -> None:
        from transformers import AutoTokenizer

        from gym_ray.runs.replay import recorded_segments, replay

        port = free_port()
        with program(name, port, PYTHON):
            summary = gather(words(port, 24, "collect.rollouts_per_task=4"))
        assert (summary.missing, summary.failed) == (0, 0), jsonl_rows(tmp_path / "run", "failures")[:3]
        rows = check_exactly_once(tmp_path / "run", 24, 4)
        tokenizer = AutoTokenizer.from_pretrained(WEIGHTS)
        for row in rows:
            check_tokens(row, tokenizer)
        found = replay(list(recorded_segments(str(tmp_path / "run"))), WEIGHTS)
        assert (found.mean < 0.02, found.far <= max(4, found.tokens // 1000)) == (True, True), found
        outputs = [item for row in rows for item in row["response"]["output"]]
        calls = [item for item in outputs if item["type"] == "function_call"]
        assert len(calls) > len(rows), "tools were called, two per rollout as a rule"
        assert {call["name"] for call in calls} & set(EASY_TOOLSET)
        reward = sum(row["reward"] for row in rows) / len(rows)
        print(f"{name}: mean reward {reward:.3f}, {len(calls) / len(rows):.2f} calls per rollout, {found}")
        assert reward > 0.6, "as good as with our own loop, which gets 0.87"

    def test_killed_in_the_middle(self, words: Callable[..., list[str]], tmp_path: Path) -> None:
        port = free_port()
        with program("react_graph", port, PYTHON) as first:
            again = threading.Event()

            def kill_and_replace() -> None:
                journal = tmp_path / "run" / "journal"
                wait_for(lambda: sum(file.stat().st_size for file in journal.rglob("*.*")) > 100_000, 120, "rollouts")
                first.kill()
                first.wait()
                with program("react_graph", port, PYTHON):
                    again.wait(300)

            killer = threading.Thread(target=kill_and_replace)
            killer.start()
            summary = gather(words(port, 60, "collect.rollouts_per_task=4", "collect.in_flight=32"))
            again.set()
            killer.join()
        assert (summary.missing, summary.failed) == (0, 0), jsonl_rows(tmp_path / "run", "failures")[:3]
        rows = check_exactly_once(tmp_path / "run", 60, 4)
        assert sum(row["gym_ray"]["attempt"] > 0 for row in rows) >= 8, "those in its hands were made again"

    def test_trained_on(self, words: Callable[..., list[str]], tmp_path: Path) -> None:
        """Last of all, for it changes the model's weights."""
        from gym_ray.cli.rl import compose
        from gym_ray.integrations.grpo.loop import train

        steps, groups, rollouts = 8, 4, 8
        held_out = tmp_path / "held_out.jsonl"
        held_out.write_text("".join(json.dumps(row) + "\n" for row in generate(8, 11, "easy")))
        port = free_port()
        settings = [f"rl.steps={steps}", f"rl.groups_per_step={groups}", "rl.measure_every=100", "rl.learner.threads=1"]
        settings += [f"collect.rollouts_per_task={rollouts}", f"rl.held_out.path={held_out}"]
        with program("react_graph", port, PYTHON):
            train(compose(words(port, 64, *settings)))
        lines = [json.loads(line) for line in (tmp_path / "run/training/seed-0/metrics.jsonl").read_text().splitlines()]
        for line in lines[1:]:
            print({name: line[name] for name in ("reward", "loss", "drift", "clipped", "gradient", "samples")})
            assert (line["scored"], line["failed"], line["masked"]) == (groups * rollouts, 0, 0)
            assert math.isfinite(line["loss"])
            assert line["drift"] < 0.01, "the ratios at the step's only update are 1, but for rounding"
            assert line["clipped"] < 0.01
        taught = [line for line in lines[1:] if line["samples"]]
        assert taught, "some group had better and worse rollouts"
        assert all(line["gradient"] > 0 for line in taught)
