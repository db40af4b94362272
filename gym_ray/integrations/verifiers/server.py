"""Tasksets of verifiers: ``env=verifiers env.options.taskset=NAME``.

A task's prompt is put to the model in one turn, and the task's own ``@reward`` and ``@metric`` functions score the
trace of it. What needs more than that (a runtime, tool servers, judges of its own, an ``Env`` that drives the
conversation) is refused when the environment is made, not scored wrongly.

Format: verifiers 0.4 (``verifiers.v1``). ``python -m gym_ray.integrations.verifiers NAME`` writes a taskset's rows.
"""

from __future__ import annotations

import inspect
from importlib.util import find_spec
from typing import Any

from pydantic import ValidationError

from gym_ray.models.chat import chat_messages
from gym_ray.resources.server import ResourcesServer, Session
from gym_ray.types.errors import FailureKind, MaskRollout, RolloutError, Stage, UserError, describe
from gym_ray.types.outcome import Reward
from gym_ray.types.task import TaskRow
from gym_ray.types.trajectory import Trajectory
from gym_ray.types.validation import explain


class Verifiers(ResourcesServer):
    """One taskset. State of a session: its ``task``, a verifiers object.

    Options:
        taskset: the id of an installed taskset package.
        config: the taskset's own settings.
    """

    verify_timeout_s = 300.0

    class Task(TaskRow):
        """A task of the taskset."""

        verifiers_task: dict[str, Any]
        """The fields of its ``TaskData``."""

    def __init__(self, taskset: str, config: dict[str, Any] | None = None) -> None:
        super().__init__()
        self._taskset = load_taskset(taskset, config or {})
        self._kind = type(self._taskset).task_type()

    async def seed(self, task: Any) -> Session:
        """The verifiers task.

        Raises:
            RolloutError: ``bad_task``; the row's fields are not those of the taskset.
        """
        try:
            data = self._kind.data_type().model_validate(task.verifiers_task)
        except ValidationError as error:
            reason = f"`verifiers_task` does not fit {self._kind.__name__}: {'; '.join(explain(error))}"
            raise RolloutError(FailureKind.BAD_TASK, Stage.SEED, reason) from None
        return {"task": self._kind(data, self._taskset.config.task)}

    async def verify(self, task: Any, trajectory: Trajectory, session: Session) -> Reward:
        """The weighted sum of the task's rewards, by name in ``components``. ``extra``: its ``metrics``."""
        trace = trace_of(session["task"], trajectory)
        try:
            await session["task"].score(trace)
        except Exception as error:
            raise MaskRollout(FailureKind.VERIFIER_ERROR, describe(error)) from error
        components = {name: reward.value for name, reward in trace.rewards.items() if reward is not None}
        return Reward(float(trace.reward), components, {"metrics": dict(trace.metrics)})


def load_taskset(name: str, config: dict[str, Any]) -> Any:
    """The taskset, if one turn of a model is all that it needs.

    Raises:
        UserError: verifiers or the taskset is not installed, its settings do not fit, or it needs more.
    """
    if find_spec("verifiers") is None:
        raise UserError("environment `verifiers` needs the package: pip install 'gym-ray[verifiers]'")
    from verifiers.v1.utils import loaders

    try:
        taskset = loaders.load_taskset(loaders.taskset_config_type(name).model_validate({"id": name, **config}))
    except ValidationError as error:
        raise UserError(f"environment `verifiers`: options.config: {'; '.join(explain(error))}") from None
    except Exception as error:
        raise UserError(f"environment `verifiers`: options.taskset={name}: {describe(error)}") from None
    needs = _needs(name, taskset)
    if needs:
        raise UserError(f"environment `verifiers`: taskset {name} needs {', '.join(needs)}: run it with verifiers")
    return taskset


def _needs(name: str, taskset: Any) -> list[str]:
    """What the taskset asks for beyond one turn of a model."""
    from verifiers.v1.task import Task
    from verifiers.v1.utils.loaders import environment_class

    kind = type(taskset).task_type()
    task = kind(kind.data_type().model_construct(), taskset.config.task)
    scorers = [*task.hooks("reward"), *task.hooks("metric")]
    found = {
        "a container": kind.NEEDS_CONTAINER,
        "tool servers": bool(type(taskset).toolsets(taskset.config) or kind.toolsets(taskset.config.task)),
        "judges of its own": bool(taskset.config.task.judges),
        "a runtime": any(_wants_runtime(scorer) for scorer in scorers)
        or any(getattr(kind, hook) is not getattr(Task, hook) for hook in ("setup", "finalize", "stage_verifier")),
        "its own Env": environment_class(name).__name__ != "SingleAgentEnv",
    }
    return [what for what, needed in found.items() if needed]


def _wants_runtime(scorer: Any) -> bool:
    return "runtime" in inspect.signature(scorer).parameters


def trace_of(task: Any, trajectory: Trajectory) -> Any:
    """A verifiers trace of what was said: one node per message, those of the model marked as sampled."""
    import verifiers.v1 as vf
    from verifiers.v1.graph import MessageNode
    from verifiers.v1.state import state_cls
    from verifiers.v1.trace import AgentInfo, Trace, TraceTask

    given = chat_messages(trajectory.input)
    messages = [*given, *chat_messages(trajectory.items)]
    nodes = [
        MessageNode(parent=number - 1 if number else None, message=_fitting(message), sampled=number >= len(given))
        for number, message in enumerate(messages)
    ]
    trace = Trace(
        task=TraceTask(type=type(task).__name__, data=task.data, key=task.key, hash=task.hash),
        state=state_cls(type(task))(),
        agent=AgentInfo(config=vf.AgentConfig()),
        nodes=nodes,
    )
    trace.stop("agent_completed")
    return trace


def _fitting(message: dict[str, Any]) -> dict[str, Any]:
    """A chat message as verifiers has it: tool calls are flat there."""
    calls = message.get("tool_calls")
    if not calls:
        return message
    flat = [{"id": call["id"], **call["function"]} for call in calls]
    return {**message, "tool_calls": flat}
