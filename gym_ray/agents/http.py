"""An agent elsewhere, in any language and framework, driven by HTTP and recorded by its model calls.

For each rollout ``agent.url`` is asked, by POST, to work on the task:

    {"task": row, "tools": [...], "model": name,
     "base_url": "http://.../v1", "api_key": key, "tools_url": "http://.../tools"}

It answers when it is done, with any JSON object; ``output``, if there, is its final answer where that is not what the
model said last. What it does meanwhile is its own affair. ``base_url`` is an OpenAI-compatible address (Chat
Completions and Responses) that belongs to this rollout (:mod:`.door`): calls there go to the run's policy and are
recorded with exact tokens (:mod:`.recorder`), so that the agent needs no change to be trained. ``POST tools_url/NAME``
with a JSON object runs a tool of the environment; ``tools`` describes them as the Responses API does.

Invariants: who is right when the agent ends with an error depends on what its model call got last. A model that failed
fails the rollout, whatever the agent makes of it. A limit that was reached ends it there, as it ends any agent. All
else is the agent's own failure, and tried again.
"""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any

import aiohttp
import orjson

from gym_ray.agents.base import Agent, AgentConfig, RolloutContext
from gym_ray.agents.door import Door
from gym_ray.agents.recorder import Recorder
from gym_ray.models.retry import RetryPolicy
from gym_ray.types.errors import FailureKind, RolloutError, Stage, UserError, describe

Json = dict[str, Any]
MAX_ANSWER_BYTES = 1 << 20
"""Of what the agent answers in the end."""
CONNECT_S = 10.0
_NOT_NOW = (429, 503)
"""Statuses of an agent that does not take the task now."""
_KNOCKING = RetryPolicy(max_attempts=0, base_s=0.1, max_s=2.0)


class HttpAgent(Agent):
    """See the module."""

    def __init__(self, config: AgentConfig) -> None:
        super().__init__(config)
        if not config.url:
            raise UserError("agent.url is missing (agent.kind=http): the address of the agent, http://host:port/path")
        self._url = config.url
        self._door = Door(config.listen_host)
        self._session: aiohttp.ClientSession | None = None

    async def run(self, context: RolloutContext) -> None:
        """See :class:`Agent`."""
        base = await self._door.open()
        recorder = Recorder(context, self.config)
        with self._door.serving(recorder, context.model.name) as key:
            address = f"{base}/{key}"
            asked = {
                "task": context.task,
                "tools": context.params.get("tools") or [],
                "model": context.model.name,
                "base_url": f"{address}/v1",
                "api_key": key,
                "tools_url": f"{address}/tools",
            }
            answer = await self._ask(orjson.dumps(asked), recorder)
        recorder.finish(answer.get("output"))

    async def _ask(self, body: bytes, recorder: Recorder) -> Json:
        """The agent's last word; nothing, where a limit had the last one.

        Raises:
            RolloutError: the model failed, or the agent.
        """
        answer: Json = {}
        problem: RolloutError | None = None
        try:
            answer = await self._knock(body, recorder)
        except RolloutError as error:
            problem = error
        if recorder.failure is not None:
            raise recorder.failure
        if problem is None or (problem.kind == FailureKind.AGENT_RUN_ERROR and recorder.cut is not None):
            return answer
        raise recorder.refusal or problem

    async def _knock(self, body: bytes, recorder: Recorder) -> Json:
        """Ask, again while nobody is there who takes the task, for ``agent.patience_s``."""
        until = time.monotonic() + self.config.patience_s
        attempt = 1
        while True:
            try:
                return await self._post(body)
            except RolloutError as error:
                pause = _KNOCKING.delay(attempt, None, random.random())
                away = error.kind == FailureKind.TRANSPORT_UNREACHABLE and not recorder.begun
                if not away or time.monotonic() + pause > until:
                    raise
            attempt += 1
            await asyncio.sleep(pause)

    async def _post(self, body: bytes) -> Json:
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        timeout = aiohttp.ClientTimeout(total=self.config.rollout_timeout_s, sock_connect=CONNECT_S)
        headers = {"Content-Type": "application/json"}
        try:
            async with self._session.post(self._url, data=body, headers=headers, timeout=timeout) as reply:
                raw = await _read(reply.content)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise _failed(FailureKind.TRANSPORT_UNREACHABLE, describe(error)) from None
        except TimeoutError:
            raise  # The rollout's own.
        except (aiohttp.ClientError, OSError) as error:
            raise _failed(FailureKind.TRANSPORT_PEER_DROP, describe(error)) from None
        if reply.status == 200:
            return _object(raw)
        kind = FailureKind.TRANSPORT_UNREACHABLE if reply.status in _NOT_NOW else FailureKind.AGENT_RUN_ERROR
        raise _failed(kind, f"{reply.status} {raw[:300].decode(errors='replace')}")


async def _read(content: aiohttp.StreamReader) -> bytes:
    raw = bytearray()
    while len(raw) < MAX_ANSWER_BYTES and (chunk := await content.read(MAX_ANSWER_BYTES - len(raw))):
        raw += chunk
    return bytes(raw)


def _object(raw: bytes) -> Json:
    try:
        answer = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _failed(kind: FailureKind, reason: str) -> RolloutError:
    return RolloutError(kind, Stage.AGENT, f"the agent at agent.url: {reason}", terminal=False)
