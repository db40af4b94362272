"""OpenTelemetry spans of rollouts, for those who ask for them (``collect.trace``; extra ``otel``).

One trace per rollout: ``rollout``, and in it ``seed``, ``model`` (each call), ``tool NAME``, ``step``,
``verify``. Where spans go is said by the standard variables (``OTEL_EXPORTER_OTLP_ENDPOINT``, ...), how many by
``OTEL_TRACES_SAMPLER``. Models and tools get the context (``types.trace``).

What is traced is wrapped; a run without tracing has none of this in its way.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from gym_ray.agents.base import Agent, AgentConfig
from gym_ray.collect.attempt import Flight, RolloutMaker, TaskSpec
from gym_ray.models.protocol import Model, ModelReply, ModelRequest
from gym_ray.resources.gymnasium import StepResult
from gym_ray.resources.protocol import Resources, ResourcesSession
from gym_ray.types.errors import MaskRollout, UserError
from gym_ray.types.items import Item
from gym_ray.types.outcome import Reward
from gym_ray.types.rollout import Rollout
from gym_ray.types.trace import CURRENT
from gym_ray.types.trajectory import Trajectory


class Tracing:
    """Makes spans in one process. ``provider``: OpenTelemetry's TracerProvider; None: one that exports by OTLP.

    Raises:
        UserError: OpenTelemetry is not installed.
    """

    def __init__(self, provider: Any = None) -> None:
        try:
            self._provider = provider or _exporting()
        except ImportError:
            raise UserError("collect.trace=true: OpenTelemetry is missing: pip install 'gym-ray[otel]'") from None
        self._tracer = self._provider.get_tracer("gym_ray")

    @contextlib.contextmanager
    def span(self, name: str, **attributes: str | int) -> Iterator[Any]:
        """A span around the block, a child of the one that is open in this task; the block's trace context is its."""
        with self._tracer.start_as_current_span(f"gym_ray.{name}", attributes=attributes) as span:
            context = span.get_span_context()
            flags = int(context.trace_flags)
            token = CURRENT.set(f"00-{context.trace_id:032x}-{context.span_id:016x}-{flags:02x}")
            try:
                yield span
            finally:
                CURRENT.reset(token)

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()


def _exporting() -> Any:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


class TracedMaker(RolloutMaker):
    """A maker whose rollouts are traced, with all that they do."""

    def __init__(
        self,
        tracing: Tracing,
        agent: Agent,
        agent_name: str,
        config: AgentConfig,
        model: Model,
        resources: Resources,
        max_attempts: int,
    ) -> None:
        self._tracing = tracing
        traced = TracedModel(tracing, model), TracedResources(tracing, resources)
        super().__init__(agent, agent_name, config, *traced, max_attempts)

    async def make(self, task: TaskSpec, index: int, flight: Flight) -> Rollout:
        """See :class:`RolloutMaker`."""
        about: dict[str, str | int] = {"environment": task.environment, "task_id": task.task_id, "rollout_index": index}
        with self._tracing.span("rollout", **about) as span:
            rollout = await super().make(task, index, flight)
            span.set_attribute("outcome", str(rollout.outcome))
            span.set_attribute("attempts", rollout.attempt + 1)
            if rollout.reward is not None:
                span.set_attribute("reward", rollout.reward.value)
            if rollout.failure is not None:
                span.set_attribute("failure_kind", str(rollout.failure.kind))
        return rollout


class TracedModel:
    """A model whose calls are spans."""

    def __init__(self, tracing: Tracing, model: Model) -> None:
        self._tracing, self._model = tracing, model
        self.name = model.name

    async def respond(self, request: ModelRequest) -> ModelReply:
        """See :class:`Model`."""
        with self._tracing.span("model", model=self.name) as span:
            reply = await self._model.respond(request)
            span.set_attribute("prompt_tokens", reply.usage.prompt_tokens)
            span.set_attribute("completion_tokens", reply.usage.completion_tokens)
            span.set_attribute("finish_reason", str(reply.finish_reason))
        return reply

    async def close(self) -> None:
        """See :class:`Model`."""
        await self._model.close()


class TracedResources:
    """An environment whose sessions are traced."""

    def __init__(self, tracing: Tracing, resources: Resources) -> None:
        self._tracing, self._resources = tracing, resources
        self.tools, self.gymnasium = resources.tools, resources.gymnasium
        self.scores_groups = resources.scores_groups

    async def seed(self, task: dict[str, Any], rollout_id: str) -> ResourcesSession:
        """See ``Resources``."""
        with self._tracing.span("seed"):
            return TracedSession(self._tracing, await self._resources.seed(task, rollout_id))

    async def verify_group(self, task: dict[str, Any], trajectories: list[Trajectory]) -> list[Reward | MaskRollout]:
        """See ``Resources``."""
        with self._tracing.span("verify_group", rollouts=len(trajectories)):
            return await self._resources.verify_group(task, trajectories)

    async def aclose(self) -> None:
        """See ``Resources``."""
        await self._resources.aclose()


class TracedSession:
    """A session whose operations are spans."""

    def __init__(self, tracing: Tracing, session: ResourcesSession) -> None:
        self._tracing, self._session = tracing, session
        self.observation = session.observation

    async def call_tool(self, name: str, arguments: dict[str, Any]) -> str:
        """See ``ResourcesSession``."""
        with self._tracing.span(f"tool {name}"):
            return await self._session.call_tool(name, arguments)

    async def step(self, action: list[Item]) -> StepResult:
        """See ``ResourcesSession``."""
        with self._tracing.span("step"):
            return await self._session.step(action)

    async def verify(self, trajectory: Trajectory) -> Reward:
        """See ``ResourcesSession``."""
        with self._tracing.span("verify"):
            return await self._session.verify(trajectory)

    async def close(self) -> None:
        """See ``ResourcesSession``."""
        await self._session.close()
