"""The authoring API: one class, plain async Python, no HTTP, no Ray.

A :class:`ResourcesServer` owns the tools, the per-rollout session state and the verification of one kind
of task. Lifecycle of a rollout: ``seed`` -> any number of tool calls -> ``verify`` -> ``close`` (always).
One instance serves many rollouts at once, so per-rollout state lives in the session that ``seed`` returns,
never on ``self``.

What raises where: an exception in a tool is answered to the model as an error and keeps the session; one in
``verify`` masks the rollout with the exception's last line; one in ``seed`` fails the rollout.

A class that asks models for their judgement names the roles they play (``judge_roles``) and asks
:attr:`ResourcesServer.judge` (module ``judge``).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar

from gym_ray.resources.judge import Judge
from gym_ray.resources.requirements import Requirements
from gym_ray.resources.schema import ToolSpec, tool_spec
from gym_ray.types.errors import MaskRollout
from gym_ray.types.outcome import Reward
from gym_ray.types.task import TaskRow
from gym_ray.types.trajectory import Trajectory

F = TypeVar("F", bound=Callable[..., Any])
Session = dict[str, Any]
"""Per-rollout state: whatever ``seed`` returned. Tools may mutate it."""


class UnknownTool(LookupError):
    """A model called a tool that the environment does not have."""


def tool(function: F) -> F:
    """Mark a method as a tool. Its signature (after ``self, session``) and docstring become its schema."""
    function.__gym_ray_tool__ = True  # type: ignore[attr-defined]
    return function


class ResourcesServer:
    """Base class of environments. Override :meth:`verify`; the rest has working defaults.

    Class attributes an environment may set:

    - ``Task``: its row type, a :class:`TaskRow` subclass.
    - ``cpu_bound``: ``verify`` computes or blocks; it then runs in a killable worker process under
      ``verify_timeout_s``, never on an event loop. Its ``session`` argument must then be picklable.
    - ``pure``: no I/O, no state beyond the session and microseconds per call; such an environment is
      placed inside the agent's own process by default.
    - ``needs_tokens``: ``verify`` reads ``trajectory.turns[i].tokens`` (otherwise they are not sent).
    - ``judge_roles``: the judges it asks, ``("judge",)`` for one. Give ``verify`` the time that takes. A
      ``cpu_bound`` verify can ask none: :meth:`review` does, in the host's process.
    - ``tool_timeout_s``, ``verify_timeout_s``, ``review_timeout_s``, ``seed_timeout_s``: deadlines in seconds.
    - ``expose_tools``: add this class's tools to each request. Set False when rows list their tools.
    """

    Task: ClassVar[type[TaskRow]] = TaskRow
    cpu_bound: ClassVar[bool] = False
    pure: ClassVar[bool] = False
    needs_tokens: ClassVar[bool] = False
    expose_tools: ClassVar[bool] = True
    judge_roles: ClassVar[tuple[str, ...]] = ()
    seed_timeout_s: ClassVar[float] = 60.0
    tool_timeout_s: ClassVar[float] = 60.0
    verify_timeout_s: ClassVar[float] = 60.0
    review_timeout_s: ClassVar[float] = 1800.0
    judges: Mapping[str, Judge] = MappingProxyType({})
    """By role. Set by the host before the first session; empty in a ``cpu_bound`` verifier's process."""

    def __init__(self, **options: Any) -> None:
        """``options``: the environment's own settings from its configuration (``envs.NAME.options``).

        Subclasses that take options declare them as keyword arguments; an unknown one is a ``TypeError``.
        """
        if options:
            raise TypeError(f"{type(self).__name__} takes no option {', '.join(map(repr, options))}")

    async def seed(self, task: Any) -> Session:
        """Prepare one rollout and return its session state."""
        return {}

    async def verify(self, task: Any, trajectory: Trajectory, session: Session) -> Reward | float:
        """Grade a finished rollout. Raise ``MaskRollout`` when it cannot be judged."""
        raise TypeError(f"{type(self).__name__} must define `async def verify(self, task, trajectory, session)`")

    async def review(self, task: Any, trajectory: Trajectory, session: Session, reward: Reward) -> Reward | float:
        """A second opinion on what ``verify`` said, always in the host's process. The default agrees."""
        return reward

    async def verify_group(self, task: Any, trajectories: Sequence[Trajectory]) -> list[Reward | float | MaskRollout]:
        """Grade all rollouts of one task together (pairwise, relative). Defining it replaces ``verify``.

        A ``MaskRollout`` in the list masks that one rollout; one that is raised masks them all.
        """
        raise TypeError(f"{type(self).__name__} has no group verifier")

    async def close(self, session: Session) -> None:
        """Release what the session holds. Called once per seeded session, also after failures."""

    async def shutdown(self) -> None:
        """Release what the instance holds for all its sessions. Called once, when its host goes down."""

    @property
    def judge(self) -> Judge:
        """The only judge, or the one in the role ``judge``.

        Raises:
            TypeError: the class names no such role, or a ``cpu_bound`` verify asks.
        """
        judges = self.judges
        found = judges.get("judge") or (next(iter(judges.values())) if len(judges) == 1 else None)
        if found is None:
            raise TypeError('no judge here: say `judge_roles = ("judge",)`; where `cpu_bound`, ask in `review`')
        return found

    @classmethod
    def reviews(cls) -> bool:
        """True when the class defines :meth:`review`."""
        return cls.review is not ResourcesServer.review

    @classmethod
    def scores_groups(cls) -> bool:
        """True when the class defines :meth:`verify_group`."""
        return cls.verify_group is not ResourcesServer.verify_group

    @classmethod
    def roles(cls, options: Mapping[str, Any]) -> tuple[str, ...]:
        """The judges that an instance made from ``options`` asks: ``judge_roles``, unless it depends."""
        return cls.judge_roles

    @classmethod
    def adopt(cls, row: dict[str, Any]) -> dict[str, Any]:
        """A row as its publisher wrote it, in the shape that ``Task`` has; ``gym-ray tasks prepare`` asks.

        Raises:
            ValueError: it cannot be had in that shape.
        """
        return row

    @classmethod
    def examples(cls, options: Mapping[str, Any]) -> Path:
        """Where the example tasks are: ``examples.jsonl`` beside the file of the class, unless it knows better."""
        return Path(inspect.getfile(cls)).with_name("examples.jsonl")

    @classmethod
    def requirements(cls, options: Mapping[str, Any]) -> Requirements | None:
        """What a process of its own gets installed: ``requirements.txt`` beside the file of the class, if any."""
        file = Path(inspect.getfile(cls)).with_name("requirements.txt")
        return Requirements.read(str(file)) if file.is_file() else None

    @classmethod
    def tools(cls) -> dict[str, ToolSpec]:
        """This class's tools by name, in definition order (inherited ones first)."""
        found: dict[str, ToolSpec] = {}
        for base in reversed(cls.__mro__):
            for name, member in vars(base).items():
                if inspect.isfunction(member) and getattr(member, "__gym_ray_tool__", False):
                    found[name] = tool_spec(member)
        return found

    def offered_tools(self) -> dict[str, ToolSpec]:
        """The tools this instance answers to and adds to requests: all of its class's.

        Override it when an option narrows them (``gym_ray.environments.workplace`` does), or when they are known
        only at run time: a :class:`ToolSpec` without ``arguments`` is answered by :meth:`call_tool`.
        """
        return self.tools()

    async def call_tool(self, session: Session, name: str, arguments: dict[str, Any]) -> Any:
        """Answer a call to a tool that is no method here: rows may bring tools of their own.

        Raises:
            UnknownTool: there is none of this name; the model is told so.
        """
        raise UnknownTool(name)
