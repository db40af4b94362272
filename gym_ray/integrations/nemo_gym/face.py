"""One of our environments over NeMo Gym's HTTP contract, so that its agents, collectors and trainers can attach.

As a resources server: ``/seed_session``, ``/<tool>``, ``/verify`` (step-wise ones: ``/reset``, ``/step``), sessions by
cookie. As an agent, when a model is given: ``/run`` (a task row in, a rollout row out) and ``/v1/responses`` (create
parameters in, the whole loop's response out). ``/aggregate_metrics``, ``/reverify_mode`` and the liveness routes
serve both. Source of the shapes: NeMo Gym 0.5 to 0.7.

What cannot be judged is masked in the answer (``mask_sample``, ``failure_kind``, ``failure_reason``), never scored.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gym_ray.collect.attempt import Flight, RolloutMaker, TaskSpec
from gym_ray.collect.output.rows import make_row, to_jsonl
from gym_ray.integrations.nemo_gym.aggregate import aggregated
from gym_ray.resources.protocol import Resources, ResourcesSession
from gym_ray.types.errors import FailureKind, MaskRollout, RolloutError, Stage
from gym_ray.types.items import input_items
from gym_ray.types.outcome import Outcome
from gym_ray.types.rollout import Rollout
from gym_ray.types.trajectory import FinishReason, Trajectory

Json = dict[str, Any]
Handler = Callable[[Request], Awaitable[Response]]
LIVENESS = ("/", "/health", "/healthz", "/livez", "/readyz")
MAX_SESSIONS = 100_000
"""Cookies known at once; beyond, the oldest is forgotten (its session expires in the environment by itself)."""


class Face:
    """The application. ``maker`` and ``params`` (row parameters -> complete ones) make it an agent too."""

    def __init__(
        self,
        name: str,
        resources: Resources,
        maker: RolloutMaker | None = None,
        params: Callable[[Json], Json] | None = None,
    ) -> None:
        self._name, self._resources, self._maker, self._params = name, resources, maker, params
        self._cookie = f"gym_ray___{name}"
        self._sessions: dict[str, ResourcesSession] = {}
        self._number = 0
        self.app = Starlette(routes=self._routes())

    def _routes(self) -> list[Route]:
        posts: dict[str, Handler] = {
            "/seed_session": self._seed,
            "/verify": self._verify,
            "/reset": self._reset,
            "/step": self._step,
            "/close": self._close,
            "/aggregate_metrics": self._aggregate,
            "/run": self._run,
            "/v1/responses": self._respond,
            "/{tool}": self._tool,
        }
        gets: dict[str, Handler] = {"/reverify_mode": self._reverify_mode, **dict.fromkeys(LIVENESS, self._alive)}
        return [
            *(Route(path, _guarded(handler), methods=["GET"]) for path, handler in gets.items()),
            *(Route(path, _guarded(handler), methods=["POST"]) for path, handler in posts.items()),
        ]

    async def _seed(self, request: Request) -> Response:
        _, token = await self._open(request, await _body(request))
        return self._with_cookie(_json({}), token)

    async def _tool(self, request: Request) -> Response:
        session = self._session(request)
        text = await session.call_tool(request.path_params["tool"], await _body(request))
        return Response(text, media_type="application/json")

    async def _verify(self, request: Request) -> Response:
        """A session that was not seeded is seeded now: stateless environments need no more."""
        body = await _body(request)
        token = request.cookies.get(self._cookie, "")
        if token not in self._sessions:
            _, token = await self._open(request, _row_of(body))
        try:
            verdict = await self._verdict(self._sessions[token], body)
        finally:
            await self._end(token)
        return _json({**body, **verdict})

    async def _verdict(self, session: ResourcesSession, body: Json) -> Json:
        trajectory = trajectory_of(body)
        try:
            reward = await session.verify(trajectory)
        except MaskRollout as mask:
            return _masked(body, mask.kind, mask.reason)
        components = {"reward_components": reward.components} if reward.components else {}
        return {**reward.extra, "reward": reward.value, **components, "mask_sample": False}

    async def _reset(self, request: Request) -> Response:
        session, token = await self._open(request, await _body(request))
        return self._with_cookie(_json({"observation": session.observation, "info": {}}), token)

    async def _step(self, request: Request) -> Response:
        session, body = self._session(request), await _body(request)
        result = await session.step(body["response"]["output"])
        outputs = [{"call_id": call, "output": output} for call, output in result.tool_outputs.items()]
        if result.terminated or result.truncated:
            await self._end(request.cookies[self._cookie])
        return _json(
            {
                "observation": result.observation,
                "reward": result.reward,
                "terminated": result.terminated,
                "truncated": result.truncated,
                "info": {**result.info, "tool_outputs": outputs} if outputs else result.info,
            }
        )

    async def _close(self, request: Request) -> Response:
        await self._end(request.cookies.get(self._cookie, ""))
        return _json({})

    async def _run(self, request: Request) -> Response:
        """A whole rollout of the row in the body."""
        maker, task, flight = self._planned(await _body(request))
        rollout = await maker.make(task, task.row.get("_ng_rollout_index") or 0, flight)
        if rollout.outcome is not Outcome.FAILED:
            return Response(to_jsonl(make_row(rollout)), media_type="application/json")
        failure, row = rollout.failure, orjson.loads(rollout.task)
        assert failure is not None
        masked = _masked(row, failure.kind, failure.reason)
        response = {"id": "resp_0", "object": "response", "created_at": rollout.started, "output": _items(rollout)}
        routing = {"_ng_failure_class": failure.kind, "_ng_failure_terminal": failure.terminal}
        return _json({**row, "response": response, **masked, **routing})

    async def _respond(self, request: Request) -> Response:
        """The agent's loop over create parameters, in the cookie's session; ``/verify`` ends that."""
        maker, task, flight = self._planned({"responses_create_params": await _body(request)})
        token = request.cookies.get(self._cookie, "")
        if token not in self._sessions:
            _, token = await self._open(request, task.row)
        rollout = maker.blank(task, 0, 0)
        await maker.converse(rollout, task, self._sessions[token], flight.rollout_id)
        row = orjson.loads(to_jsonl(make_row(rollout)))
        return self._with_cookie(_json(row["response"]), token)

    def _planned(self, row: Json) -> tuple[RolloutMaker, TaskSpec, Flight]:
        if self._maker is None or self._params is None:
            reason = "there is no model behind this address: start it with model=NAME"
            raise RolloutError(FailureKind.PROVIDER_UNAVAILABLE, Stage.MODEL, reason)
        number, self._number = self._number, self._number + 1
        params = self._params(row["responses_create_params"])
        task = TaskSpec(number, f"{self._name}-{number}", self._name, orjson.dumps(row), row, params)
        return self._maker, task, Flight(f"{self._name}/{number}")

    async def _aggregate(self, request: Request) -> Response:
        return _json(aggregated((await _body(request))["verify_responses"]))

    async def _reverify_mode(self, request: Request) -> Response:
        stateful = bool(self._resources.tools) or self._resources.gymnasium
        return _json("unsupported" if stateful else "stateless")

    async def _alive(self, request: Request) -> Response:
        return _json({"status": "ok"})

    async def _open(self, request: Request, row: Json) -> tuple[ResourcesSession, str]:
        await self._end(request.cookies.get(self._cookie, ""))
        token = secrets.token_urlsafe(24)
        session = await self._resources.seed(row, f"{self._name}/{token}")
        self._sessions[token] = session
        if len(self._sessions) > MAX_SESSIONS:
            await self._end(next(iter(self._sessions)))
        return session, token

    def _session(self, request: Request) -> ResourcesSession:
        session = self._sessions.get(request.cookies.get(self._cookie, ""))
        if session is None:
            reason = f"no session: call /seed_session (or /reset) first and send its cookie {self._cookie!r} back"
            raise RolloutError(FailureKind.SESSION_LOST, Stage.TOOL, reason)
        return session

    async def _end(self, token: str) -> None:
        session = self._sessions.pop(token, None)
        if session is not None:
            await session.close()

    def _with_cookie(self, response: Response, token: str) -> Response:
        response.set_cookie(self._cookie, token, httponly=True, samesite="lax")
        return response


def trajectory_of(body: Json) -> Trajectory:
    """What a verify request holds of the episode: input, all items, whether it was cut."""
    response = body["response"]
    reason = (response.get("incomplete_details") or {}).get("reason")
    finish = FinishReason.CONTENT_FILTER if reason == "content_filter" else FinishReason.LENGTH
    items: list[Json] = response["output"]
    return Trajectory(
        input_items(body["responses_create_params"]),
        items,
        finish_reason=finish if reason else FinishReason.STOP,
        model=str(response.get("model") or ""),
    )


def _row_of(body: Json) -> Json:
    return {name: value for name, value in body.items() if name != "response"}


def _masked(row: Json, kind: str, reason: str) -> Json:
    """Both places where readers look for a mask, and the class that 0.5 readers route by."""
    instance = row.get("instance_config")
    return {
        "reward": 0.0,
        "mask_sample": True,
        "failure_kind": kind,
        "failure_reason": reason,
        "instance_config": {**(instance if isinstance(instance, dict) else {}), "mask_sample": True},
        **({"_ng_failure_class": kind} if kind.startswith("judge") else {}),
    }


def _items(rollout: Rollout) -> list[Json]:
    return rollout.trajectory.items if rollout.trajectory is not None else []


def _guarded(handler: Handler) -> Handler:
    """What the caller got wrong is a 4xx, what failed here a 5xx, each with its reason."""

    async def guarded(request: Request) -> Response:
        try:
            return await handler(request)
        except RolloutError as error:
            bad = error.kind in (FailureKind.BAD_TASK, FailureKind.SESSION_LOST)
            return _json({"detail": f"{error.kind}: {error.reason}"}, 422 if bad else 500)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            return _json({"detail": f"malformed request: {type(error).__name__}: {error}"}, 422)

    return guarded


async def _body(request: Request) -> Json:
    body = orjson.loads(await request.body() or b"{}")
    if not isinstance(body, dict):
        raise TypeError("the body must be a JSON object")
    return body


def _json(content: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")
