"""Spans of real rollouts, kept in memory: who is whose child, and what models and tools are told."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk")

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from gym_ray.agents.base import AgentConfig
from gym_ray.agents.load import make_agent
from gym_ray.collect.attempt import Flight, TaskSpec
from gym_ray.collect.tracing import TracedMaker, Tracing
from gym_ray.models.config import ModelConfig
from gym_ray.models.remote import RemoteModel
from gym_ray.resources.config import EnvironmentConfig
from gym_ray.resources.host import Host
from gym_ray.resources.mailbox import Mailbox
from gym_ray.resources.server import ResourcesServer, tool
from gym_ray.types.task import TaskRow
from gym_ray.types.trace import traceparent
from tests.support.endpoint import Endpoint, add_numbers

SEEN: list[str] = []


class Adder(ResourcesServer):
    """Adds, and notes in which trace."""

    pure = True

    class Task(TaskRow):
        """Nothing more."""

    @tool
    async def add(self, session: Any, a: int, b: int) -> str:
        """The sum."""
        SEEN.append(traceparent())
        return str(a + b)

    async def verify(self, task: Any, trajectory: Any, session: Any) -> float:
        """One."""
        return 1.0


@pytest.fixture
def kept() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracing(kept: InMemorySpanExporter) -> Tracing:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    return Tracing(provider)


def context_of(span: ReadableSpan) -> str:
    context = span.get_span_context()
    assert context is not None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


async def test_a_rollout_is_one_trace_that_models_and_tools_join(tracing: Tracing, kept: InMemorySpanExporter) -> None:
    SEEN.clear()
    host = Host("adder", EnvironmentConfig(server=f"{__name__}:Adder"))
    host.start()
    async with Endpoint(add_numbers) as endpoint:
        model = RemoteModel(ModelConfig(base_url=endpoint.base_url, name="scripted"))
        config = AgentConfig()
        maker = TracedMaker(tracing, make_agent(config, gymnasium=False), "ToolLoop", config, model, host, 1)
        row = {"task_id": "t0", "responses_create_params": {"input": "add 2 3"}}
        params = {"tools": host.tools}
        rollout = await maker.make(TaskSpec(0, "t0", "adder", b"{}", row, params), 0, Flight("adder/t0/0"))
        await model.close()
    await host.aclose()
    assert rollout.reward is not None, rollout.failure
    spans = kept.get_finished_spans()
    (root,) = (span for span in spans if span.parent is None)
    assert [span.name.removeprefix("gym_ray.") for span in spans] == [
        "seed", "model", "tool add", "model", "verify", "rollout"
    ]  # fmt: skip
    assert all(span.parent == root.get_span_context() for span in spans if span is not root)
    assert root.attributes is not None
    assert (root.attributes["outcome"], root.attributes["reward"]) == ("scored", 1.0)
    headers = [call.headers.get("traceparent") for call in endpoint.calls]
    assert headers[-2:] == [context_of(spans[1]), context_of(spans[3])]
    assert [context_of(spans[2])] == SEEN
    assert traceparent() == ""


async def test_the_context_travels_to_actors() -> None:
    SEEN.clear()
    host = Host("adder", EnvironmentConfig(server=f"{__name__}:Adder"))
    host.start()
    box = Mailbox(host, pickle.loads)
    row = {"task_id": "t0", "responses_create_params": {"input": "add"}}
    box.start(pickle.dumps(("seed", 1, pickle.dumps(row), "adder/t0/0")))
    assert [pickle.loads(value) for _, value in await box.collect()] == [None]
    box.start(pickle.dumps(("tool", 2, 1, "add", {"a": 1, "b": 2}, "00-trace")))
    assert [pickle.loads(value) for _, value in await box.collect()] == ["3"]
    box.start(pickle.dumps(("tool", 3, 1, "add", {"a": 1, "b": 2})))
    await box.collect()
    assert SEEN == ["00-trace", ""]
    await box.close()
    await host.aclose()
