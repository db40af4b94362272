"""The NeMo Agent Toolkit: the guide's adapter and workflow in a process of their own, recorded with exact tokens."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gym_ray.agents.base import AgentConfig
from gym_ray.agents.load import make_agent
from gym_ray.collect.config import RunConfig
from gym_ray.collect.driver import collect
from gym_ray.models.protocol import ModelReply, ModelRequest
from gym_ray.types.errors import FailureKind, RolloutError, Stage
from gym_ray.types.items import assistant_message, function_call
from tests.agents.elsewhere import free_port, speak
from tests.agents.scripted import MemoryResources, ScriptedModel, context_of
from tests.integrations.neighbours import blocks
from tests.support.endpoint import EndpointProcess
from tests.support.processes import wait_for
from tests.support.runs import jsonl_rows, parquet_rows

pytest.importorskip("nat")
pytestmark = pytest.mark.integrations
ASK_THE_CLOCK = function_call("clock", '{"unused": "now"}', "call_0")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the guide's program listens."""
    folder, port = tmp_path_factory.mktemp("nat"), free_port()
    (folder / "nat_agent.py").write_text(blocks("NeMo Agent Toolkit", "python")[0])
    (folder / "workflow.yml").write_text(blocks("NeMo Agent Toolkit", "yaml")[0])
    with (folder / "log").open("wb") as log:
        command = [sys.executable, "-I", "nat_agent.py", "workflow.yml", str(port)]
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
        try:
            wait_for(lambda: b"Uvicorn running" in (folder / "log").read_bytes(), 180, "the agent")
            yield f"http://127.0.0.1:{port}/run"
        finally:
            process.kill()
            process.wait()


async def rollout(url: str, model: ScriptedModel) -> Any:
    """One, by the workflow at ``url``."""
    context = context_of(model, MemoryResources(), temperature=1.0, max_output_tokens=64)
    await make_agent(AgentConfig(kind="http", url=url), gymnasium=False).run(context)
    return context.trajectory


async def test_a_tool_calling_workflow_is_one_contiguous_sequence(url: str) -> None:
    model = ScriptedModel(speak([ASK_THE_CLOCK], [assistant_message("Late.")]))
    trajectory = await rollout(url, model)
    assert [item["type"] for item in trajectory.items] == ["function_call", "function_call_output", "message"]
    assert "The current time of day is" in trajectory.items[1]["output"]
    assert trajectory.text == "Late."
    assert [turn.tokens.prompt for turn in trajectory.turns] == [[1, 2], [1, 2, 101, 50]]
    sent = model.requests[0].params
    assert (sent["temperature"], sent["max_output_tokens"]) == (1.0, 64)
    assert [tool["name"] for tool in sent["tools"]] == ["clock"]


async def test_rollouts_at_once_each_have_a_model_of_their_own(url: str) -> None:
    models = [ScriptedModel(speak([ASK_THE_CLOCK], [assistant_message(f"It is {n}.")])) for n in range(4)]
    trajectories = await asyncio.gather(*(rollout(url, model) for model in models))
    assert [trajectory.text for trajectory in trajectories] == [f"It is {n}." for n in range(4)]
    assert {len(model.requests) for model in models} == {2}


async def test_a_model_that_fails_is_what_the_rollout_fails_of(url: str) -> None:
    def fail(request: ModelRequest) -> ModelReply:
        raise RolloutError(FailureKind.MODEL_REJECTED_REQUEST, Stage.MODEL, "no such thing")

    with pytest.raises(RolloutError, match="no such thing") as caught:
        await rollout(url, ScriptedModel(fail))
    assert caught.value.kind == FailureKind.MODEL_REJECTED_REQUEST


@pytest.mark.ray
def test_collected(url: str, ray_cluster: dict[str, Any], tmp_path: Path) -> None:
    row = {"responses_create_params": {"input": "What time is it?"}, "expected_answer": "time of day"}
    (tmp_path / "tasks.jsonl").write_text(json.dumps(row) + "\n")
    with EndpointProcess("tests.integrations.scripts:tell_the_time", tokens="vllm") as base_url:
        settings = {
            "run_dir": str(tmp_path / "run"),
            "envs": {"time": {"server": "gym_ray.environments.string_match:StringMatch"}},
            "tasks": {"path": str(tmp_path / "tasks.jsonl")},
            "model": {"base_url": base_url, "name": "scripted"},
            "agent": {"kind": "http", "url": url},
            "collect": {"agent_cpus": 0.1, "rollouts_per_task": 3},
        }
        collect(RunConfig.model_validate(settings))
    assert not jsonl_rows(tmp_path / "run", "failures")
    rows = parquet_rows(tmp_path / "run")
    assert len(rows) == 3
    for row in rows:
        assert (row["num_turns"], len(row["segment_lengths"])) == (2, 1)
        assert len(row["token_ids"]) == len(row["loss_mask"]) == len(row["logprobs"])
        assert 0 < sum(row["loss_mask"]) < len(row["token_ids"])
