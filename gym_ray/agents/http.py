"""An agent elsewhere, in any language and framework, driven by HTTP and recorded by its model calls.

For each rollout ``agent.url`` is asked, by POST, to work on the task:

    {"task": row, "model": name, "base_url": "http://.../v1", "api_key": key, "tools_url": "http://.../tools"}

It answers when it is done, with any JSON object; ``output``, if there, is its final answer where that is not what the
model said last. What it does meanwhile is its own affair. ``base_url`` is an OpenAI-compatible address (Chat
Completions and Responses) that belongs to this rollout: calls there go to the run's policy and are recorded with exact
tokens, so that the agent needs no change to be trained. ``POST tools_url/NAME`` with a JSON object runs a tool of the
environment.

Invariants: the run's sampling parameters win over the agent's. A call that continues the conversation extends it token
by token, even where the agent left the thoughts out; any other begins a new segment. Calls of one rollout are answered
one after the other. A model that fails fails the rollout, whatever the agent makes of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import aiohttp
import orjson

from gym_ray.agents.base import Agent, AgentConfig, RolloutContext
from gym_ray.agents.conversation import Conversation
from gym_ray.models.chat import chat_messages
from gym_ray.types.errors import FailureKind, RolloutError, Stage, UserError, describe
from gym_ray.types.items import Item, assistant_message, final_text, function_call_output
from gym_ray.types.trajectory import FinishReason

Json = dict[str, Any]
MAX_ANSWER_BYTES = 1 << 20
"""Of what the agent answers in the end."""
_FROM_THE_AGENT = ("tools", "tool_choice", "parallel_tool_calls")


class HttpAgent(Agent):
    """See the module."""

    def __init__(self, config: AgentConfig) -> None:
        super().__init__(config)
        if not config.url:
            raise UserError("agent.url is missing (agent.kind=http): the address of the agent, http://host:port/path")
        self._url = config.url
        self._door = _Door(config.listen_host)
        self._session: aiohttp.ClientSession | None = None

    async def run(self, context: RolloutContext) -> None:
        """See :class:`Agent`."""
        base = await self._door.open()
        recorder = Recorder(context, self.config)
        with self._door.serving(recorder, context.model.name) as key:
            address = f"{base}/{key}"
            asked = {"task": context.task, "model": context.model.name, "api_key": key}
            answer = await self._ask({**asked, "base_url": f"{address}/v1", "tools_url": f"{address}/tools"}, recorder)
        recorder.finish(answer.get("output"))

    async def _ask(self, body: Json, recorder: Recorder) -> Json:
        """The agent's last word. What the model failed at goes before what the agent made of it."""
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        timeout = aiohttp.ClientTimeout(total=self.config.rollout_timeout_s)
        headers = {"Content-Type": "application/json"}
        problem = ""
        try:
            async with self._session.post(
                self._url, data=orjson.dumps(body), headers=headers, timeout=timeout
            ) as reply:
                raw = await reply.content.read(MAX_ANSWER_BYTES)
                if reply.status != 200:
                    problem = f"{reply.status} {raw[:300].decode(errors='replace')}"
        except (aiohttp.ClientError, OSError) as error:
            problem = describe(error)
        if recorder.failure is not None:
            raise recorder.failure
        if problem:
            raise RolloutError(
                FailureKind.AGENT_RUN_ERROR, Stage.AGENT, f"the agent at agent.url: {problem}", terminal=False
            )
        try:
            answer = orjson.loads(raw or b"{}")
        except orjson.JSONDecodeError:
            answer = {}
        return answer if isinstance(answer, dict) else {}


class Recorder:
    """One rollout's model, as the agent's OpenAI client sees it: a responder of :mod:`gym_ray.models.serve`."""

    def __init__(self, context: RolloutContext, config: AgentConfig) -> None:
        self._context, self._config = context, config
        self._conversation: Conversation | None = None
        self._turns = asyncio.Lock()
        self._stop: FinishReason | None = None
        self.failure: RolloutError | None = None

    async def start(self) -> None:
        """Nothing to start."""

    async def stop(self) -> None:
        """Nothing to stop."""

    async def health(self) -> None:
        """Always well."""

    async def respond(self, turn: Json) -> Json:
        """Answer one call of the agent; see :class:`~gym_ray.models.serve.engine.Responder`."""
        async with self._turns:
            conversation = self._follow([_item(message) for message in turn["items"]])
            if not conversation.turns_left:
                self._stop = FinishReason.MAX_TURNS
                raise _refused(f"the rollout has had its {self._config.max_turns} model calls (agent.max_turns)")
            try:
                reply = await conversation.ask(self._params(turn["params"]))
            except RolloutError as error:
                self.failure = error
                raise
            self._stop = conversation.stopped_by(reply)
        if not reply.items:
            raise _refused("the conversation does not fit the model's context window")
        usage = asdict(reply.usage)
        return {"items": reply.items, "finish_reason": str(reply.finish_reason), "usage": usage, "tokens": None}

    async def call_tool(self, name: str, arguments: Json) -> str:
        """Run a tool of the environment."""
        return await self._context.session.call_tool(name, arguments)

    def finish(self, output: Any) -> None:
        """The agent is done."""
        trajectory = self._context.trajectory
        if not trajectory.turns:
            reason = "the agent ended without having asked the model at base_url"
            raise RolloutError(FailureKind.AGENT_RUN_ERROR, Stage.AGENT, reason, terminal=False)
        if isinstance(output, str) and output != final_text(trajectory.items) and self._conversation is not None:
            self._conversation.add(assistant_message(output))
        trajectory.finish_reason = self._stop or FinishReason.STOP

    def _follow(self, items: list[Item]) -> Conversation:
        """The conversation, at the point where these items are its prompt."""
        if self._conversation is None:
            self._context.trajectory.input[:] = items
            self._conversation = Conversation(self._context, self._config)
            return self._conversation
        known, asked = _canonical(self._conversation.items), _canonical(items)
        if asked[: len(known)] != known:
            self._conversation.restart(items)
            return self._conversation
        for message in chat_messages(items)[len(known) :]:
            self._conversation.add(_item(message))
        return self._conversation

    def _params(self, asked: Json) -> Json:
        """The run's parameters over the agent's; tools are the agent's."""
        own = {key: value for key, value in self._context.params.items() if key not in _FROM_THE_AGENT}
        limit = asked.get("max_tokens", asked.get("max_output_tokens"))
        params = {key: value for key, value in asked.items() if key != "max_tokens"}
        if "tools" in params:
            params["tools"] = [_flat(tool) for tool in params["tools"]]
        if limit is not None:
            params["max_output_tokens"] = min(limit, own.pop("max_output_tokens", None) or limit)
        return {**params, **own}


class _Door:
    """Where agents' calls arrive: one listener for all rollouts, each below a path of its own."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._opening = asyncio.Lock()
        self._base = ""
        self._recorders: dict[str, tuple[Recorder, Any]] = {}

    async def open(self) -> str:
        """The base address; listens from the first call on."""
        from gym_ray.models.serve.listener import Listener

        async with self._opening:
            if not self._base:
                self._base = await Listener(self).open(self._host)
        return self._base

    @contextlib.contextmanager
    def serving(self, recorder: Recorder, model: str) -> Iterator[str]:
        """Answer for ``recorder`` for the time of the block; its key, which is also its path."""
        from gym_ray.models.serve.app import App

        key = secrets.token_urlsafe(16)
        self._recorders[key] = recorder, App(recorder, model, [key])
        try:
            yield key
        finally:
            del self._recorders[key]

    async def __call__(self, scope: Json, receive: Any, send: Any) -> None:
        """One ASGI connection."""
        if scope["type"] != "http":
            return
        key, _, rest = scope["path"].removeprefix("/").partition("/")
        found = self._recorders.get(key)
        if found is None:
            await _send(send, 404, {"error": {"message": "this rollout is over, or never was"}})
        elif rest.startswith("tools/"):
            await _send(send, *await _tool(found[0], rest.removeprefix("tools/"), receive))
        else:
            await found[1]({**scope, "path": f"/{rest}"}, receive, send)


async def _tool(recorder: Recorder, name: str, receive: Any) -> tuple[int, Json]:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    try:
        arguments = orjson.loads(body or b"{}")
    except orjson.JSONDecodeError:
        arguments = None
    if not isinstance(arguments, dict):
        return 400, {"error": {"message": "the arguments must be a JSON object"}}
    try:
        return 200, {"output": await recorder.call_tool(name, arguments)}
    except RolloutError as error:
        recorder.failure = error
        return 500, {"error": {"message": error.reason}}


async def _send(send: Any, status: int, body: Json) -> None:
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": orjson.dumps(body)})


def _refused(reason: str) -> RolloutError:
    return RolloutError(FailureKind.MODEL_REJECTED_REQUEST, Stage.MODEL, reason)


def _item(message: Json) -> Item:
    """A chat message as an item, where items have a form of their own for it."""
    if message.get("role") == "tool":
        content = message.get("content")
        text = content if isinstance(content, str) else _text(content)
        return function_call_output(message["tool_call_id"], text)
    return message


def _flat(tool: Json) -> Json:
    """A tool of Chat Completions in the form of Responses."""
    function = tool.get("function")
    return {"type": "function", **function} if isinstance(function, dict) else tool


def _canonical(items: list[Item]) -> list[Json]:
    """What a conversation says, without what clients drop or rewrite: thoughts, ids, spacing of arguments."""
    return [_bare(message) for message in chat_messages(items)]


def _bare(message: Json) -> Json:
    role = {"developer": "system"}.get(message["role"], message["role"])
    calls = [(call["function"]["name"], _arguments(call)) for call in message.get("tool_calls") or ()]
    return {"role": role, "text": _text(message.get("content")), "calls": calls}


def _arguments(call: Json) -> Any:
    try:
        return orjson.loads(call["function"]["arguments"])
    except (orjson.JSONDecodeError, TypeError):
        return call["function"]["arguments"]


def _text(content: Any) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(part.get("text", "") for part in content if isinstance(part, dict))
