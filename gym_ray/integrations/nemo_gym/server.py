"""NeMo Gym's resources servers as environments: ``env=nemo_gym/NAME``.

What NeMo Gym does over HTTP between processes happens here in one: seed, tools, verify (or reset and step) are the
server's own routes, with its session cookie and the task row as it is. Its answer is the row's verdict:

- ``reward`` and ``reward_components`` as they are, its further fields as output fields;
- masked: what it masks itself, an error instead of an answer, and a zero from a server that could not reach its
  judge, sandbox or program (``outside``).

Format: NeMo Gym 0.5 to 0.7, resources server routes.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from gym_ray.integrations.nemo_gym.asgi import Answer
from gym_ray.integrations.nemo_gym.hosted import HostedApp, prepare
from gym_ray.integrations.nemo_gym.judging import answered
from gym_ray.integrations.nemo_gym.outside import watched
from gym_ray.integrations.nemo_gym.settings import referred_models, resolve
from gym_ray.integrations.nemo_gym.tree import Tree
from gym_ray.resources.gymnasium import GymnasiumServer, StepResult
from gym_ray.resources.requirements import Requirements
from gym_ray.resources.schema import ToolSpec
from gym_ray.resources.server import Session, UnknownTool
from gym_ray.types.errors import FailureKind, MaskRollout, RolloutError, Stage
from gym_ray.types.items import Item
from gym_ray.types.outcome import Reward
from gym_ray.types.response import response_of
from gym_ray.types.trajectory import Trajectory

Json = dict[str, Any]
CONTRACT = frozenset({"responses_create_params", "response", "reward", "reward_components", "instance_config"})
LABELS = frozenset({"mask_sample", "failure_kind", "failure_reason", "agent_ref", "task_source"})
"""Fields of a verify answer that are no output fields."""
_ITSELF = re.compile(r"(-e\s+)?(nemo[-_]gym\b|\.\./\.\.)")
"""Lines like ``-e nemo-gym[dev] @ ../../``."""


class NemoGym(GymnasiumServer):
    """A NeMo Gym resources server, unmodified, in this process. State of a session: ``cookies``, ``row``, ``trouble``.

    Options:
        server: folder under ``resources_servers``.
        path: root of a NeMo Gym checkout; without it the installed package.
        config: YAML in the server's ``configs/`` (a name or a path); without it the one of the server's name.
        instance: which instance of that YAML, if it has several.
        overrides: merged over the YAML; keys are its own top-level names.
        models: model servers that are asked through the run's judges (role = its name there); without it all that
            the server's settings refer to. A call to any other is answered 424.
    """

    expose_tools = False
    seed_timeout_s = 300.0
    tool_timeout_s = 600.0
    verify_timeout_s = 1800.0

    def __init__(
        self,
        server: str,
        path: str | None = None,
        config: str | None = None,
        instance: str | None = None,
        overrides: dict[str, Any] | None = None,
        models: list[str] | None = None,
    ) -> None:
        super().__init__()
        tree = Tree.find(path)
        folder, file = tree.folder(server), tree.config_file(server, config)
        prepare(tree.root)
        resolved = resolve(file, server, overrides or {}, instance)
        calls = {role: partial(self._ask, role) for role in _roles(tree, server, config, models)}
        self._hosted = HostedApp(folder, resolved, calls)
        self.stepwise = self._hosted.stepwise
        self._started: asyncio.Task[None] | None = None

    @classmethod
    def roles(cls, options: Mapping[str, Any]) -> tuple[str, ...]:
        """The model servers that it asks."""
        tree = Tree.find(options.get("path"))
        return _roles(tree, str(options.get("server")), options.get("config"), options.get("models"))

    @classmethod
    def examples(cls, options: Mapping[str, Any]) -> Path:
        """``data/example.jsonl`` of the server."""
        return Tree.find(options.get("path")).folder(str(options.get("server"))) / "data" / "example.jsonl"

    @classmethod
    def requirements(cls, options: Mapping[str, Any]) -> Requirements | None:
        """``requirements.txt`` of the server, without the line for NeMo Gym itself, which is here already."""
        file = Tree.find(options.get("path")).folder(str(options.get("server"))) / "requirements.txt"
        lines = file.read_text().splitlines() if file.is_file() else []
        return Requirements.of((line for line in lines if not _ITSELF.match(line)), file.parent)

    def offered_tools(self) -> dict[str, ToolSpec]:
        """The typed tool routes, so that an unknown name is answered with them; rows carry the definitions."""
        return {name: ToolSpec(name, {"type": "function", "name": name}) for name in sorted(self._hosted.tools)}

    async def seed(self, task: Any) -> Session:
        """``/seed_session`` with the whole row; nothing yet where the server is step-wise."""
        if self._started is None:
            self._started = asyncio.get_running_loop().create_task(self._hosted.start())
        await asyncio.shield(self._started)
        params = {name: value for name, value in task.responses_create_params.items() if value is not None}
        row = {**(task.model_extra or {}), "responses_create_params": params}
        session: Session = {"cookies": {}, "row": row, "trouble": []}
        if not self.stepwise:
            self._checked(await self._post("seed_session", session, row), FailureKind.SEED_ERROR, Stage.SEED)
        return session

    async def call_tool(self, session: Session, name: str, arguments: dict[str, Any]) -> str:
        """The tool's route; its answer's text, whatever its status, is what the model sees."""
        if not self._hosted.has_tool(name):
            raise UnknownTool(name)
        return (await self._post(name, session, arguments)).body.decode(errors="replace")

    async def reset(self, task: Any, session: Session) -> str | None:
        """``/reset``: its observation."""
        if not self.stepwise:
            return None
        answer = await self._post("reset", session, session["row"])
        observation: str | None = self._checked(answer, FailureKind.SEED_ERROR, Stage.SEED).get("observation")
        return observation

    async def step(self, task: Any, action: list[Item], session: Session) -> StepResult:
        """``/step`` with the turn's output items."""
        row = session["row"]
        response = response_of(Trajectory([], items=action), row["responses_create_params"])
        answer = await self._post("step", session, {**row, "response": response})
        result = self._checked(answer, FailureKind.STEP_ERROR, Stage.TOOL)
        info = dict(result.get("info") or {})
        outputs = {one["call_id"]: str(one["output"]) for one in info.pop("tool_outputs", None) or ()}
        return StepResult(
            result.get("observation"),
            float(result.get("reward") or 0.0),
            bool(result.get("terminated")),
            bool(result.get("truncated")),
            outputs,
            info,
        )

    async def verify(self, task: Any, trajectory: Trajectory, session: Session) -> Reward:
        """``/verify`` with the row and the whole response; the sum of the steps where the server is step-wise."""
        row, trouble = session["row"], session["trouble"]
        if self.stepwise:
            return reward_of({"reward": float(sum(trajectory.step_rewards))}, row, trouble)
        response = response_of(trajectory, row["responses_create_params"])
        answer = await self._post("verify", session, {**row, "response": response})
        if answer.status >= 400:
            said = f"/verify: {_problem(answer)}"
            raise _blamed(trouble, said) if trouble else MaskRollout(FailureKind.VERIFIER_ERROR, said)
        return reward_of(orjson.loads(answer.body), row, trouble)

    async def close(self, session: Session) -> None:
        """``/close``, where the server has it."""
        if self._hosted.closes:
            await self._post("close", session, session["row"])

    async def _post(self, route: str, session: Session, body: Any) -> Answer:
        with watched(session["trouble"]):
            return await self._hosted.post(route, body, session["cookies"])

    @staticmethod
    def _checked(answer: Answer, kind: FailureKind, stage: Stage) -> Json:
        """The answer's object. Raises RolloutError for an error."""
        if answer.status >= 400:
            raise RolloutError(kind, stage, _problem(answer))
        parsed = orjson.loads(answer.body or b"{}")
        return parsed if isinstance(parsed, dict) else {}

    async def _ask(self, role: str, route: str, body: Json) -> Json:
        """A call to a model server, answered by the judge in its role."""
        return await answered(self.judges[role], route, body)


def _roles(tree: Tree, server: str, config: str | None, models: list[str] | None) -> tuple[str, ...]:
    return referred_models(tree.config_file(server, config), server) if models is None else tuple(models)


def reward_of(answer: Json, row: Json, trouble: list[str]) -> Reward:
    """The verdict in a verify answer.

    Raises:
        MaskRollout: the server masks it, there is no number, or it is zero and something outside had failed.
    """
    value, instance = answer.get("reward"), answer.get("instance_config") or {}
    if answer.get("mask_sample") or instance.get("mask_sample") or answer.get("_ng_failure_class"):
        said = str(answer.get("failure_reason") or answer.get("_ng_failure_judge_error") or "masked by the server")
        kind = answer.get("failure_kind") or answer.get("_ng_failure_class")
        if trouble and kind is None:
            raise _blamed(trouble, said)
        raise MaskRollout(str(kind or FailureKind.VERIFIER_ERROR), "; ".join([said, *trouble]))
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise MaskRollout(FailureKind.VERIFIER_ERROR, f"/verify gave no reward but {value!r}")
    if not value and trouble:
        raise _blamed(trouble, f"the server then scored {value:g}")
    fields = {
        name: field
        for name, field in answer.items()
        if name not in CONTRACT | LABELS and not name.startswith("_ng_") and (name not in row or row[name] != field)
    }
    return Reward(float(value), dict(answer.get("reward_components") or {}), fields)


def _blamed(trouble: list[str], said: str) -> MaskRollout:
    """The mask for what went wrong first outside."""
    kind, _, reason = trouble[0].partition(": ")
    return MaskRollout(kind, f"{reason} ({said})")


def _problem(answer: Answer) -> str:
    return f"HTTP {answer.status}: {answer.body[:500].decode(errors='replace')}"
