"""One rollout's model, as the OpenAI client of an agent elsewhere sees it: a responder of ``models.serve``.

Invariants: how tokens are sampled is the run's affair, what is asked the agent's: its tools, formats and stop strings
go to the model, its temperature, seed and penalties do not. A call that continues what was said after any earlier call
extends that call's tokens one by one, even where the agent left the thoughts out; any other is rendered afresh. Calls
are answered one after the other. What fails or is given up leaves no trace in the trajectory.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import orjson

from gym_ray.agents.base import AgentConfig, RolloutContext
from gym_ray.agents.conversation import Conversation
from gym_ray.models.chat import chat_messages
from gym_ray.models.protocol import ModelReply
from gym_ray.models.serve.sampling import ENGINE_FIELDS
from gym_ray.types.errors import FailureKind, RolloutError, Stage
from gym_ray.types.items import Item, assistant_message, final_text, function_call_output
from gym_ray.types.tokens import TurnTokens
from gym_ray.types.trajectory import FinishReason

Json = dict[str, Any]
_ASKED = frozenset({"tools", "tool_choice", "parallel_tool_calls", "stop", "stop_token_ids", "structured_outputs"})
_NOT_ITS = (ENGINE_FIELDS.keys() - _ASKED) | {"logprobs", "top_logprobs", "metadata"}
"""Fields of the agent's request that change how tokens are sampled, or nothing that is sampled."""
_REFUSALS = (FailureKind.MODEL_REJECTED_REQUEST, FailureKind.BAD_TASK)
_USAGE = ("prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens")
_SCENE = ("tools", "chat_template_kwargs", "reasoning", "reasoning_effort")
"""Fields that templates render: with others, a prompt is another one."""


@dataclass(frozen=True, slots=True)
class _Point:
    """A conversation right after a model call: ``said`` for comparison, ``items`` and their ``tokens`` to go on."""

    scene: list[Any]
    said: list[Json]
    items: list[Item]
    tokens: TurnTokens | None


class Recorder:
    """See the module. ``failure``: what the model failed at. ``refusal``: the last call that it would not answer.
    ``cut``: the limit that ended the last call, or refused it."""

    def __init__(self, context: RolloutContext, config: AgentConfig) -> None:
        self._context, self._config = context, config
        self._conversation = Conversation(context, config)
        self._points: list[_Point] = []
        self._here: _Point | None = None
        self._turns = asyncio.Lock()
        self.failure: RolloutError | None = None
        self.refusal: RolloutError | None = None
        self.cut: FinishReason | None = None

    @property
    def begun(self) -> bool:
        """Whether the model was asked."""
        return bool(self._points)

    async def start(self) -> None:
        """Nothing to start."""

    async def stop(self) -> None:
        """Nothing to stop."""

    async def health(self) -> None:
        """Always well."""

    async def respond(self, turn: Json) -> Json:
        """Answer one call of the agent; see :class:`~gym_ray.models.serve.engine.Responder`."""
        async with self._turns:
            if self.failure is not None:
                raise _refused(self.failure.reason)
            self._check_limits()
            try:
                reply = await self._ask([_item(message) for message in turn["items"]], turn["params"])
            except RolloutError as error:
                if not (error.terminal and error.kind in _REFUSALS):
                    self.failure = error
                    # Of a kind that clients do not repeat: nothing that comes after would count.
                    raise _refused(error.reason) from error
                self.refusal = error
                raise
            self.cut, self.refusal = self._conversation.stopped_by(reply), None
        return _as_json(reply)

    async def call_tool(self, name: str, arguments: Json) -> str:
        """Run a tool of the environment."""
        began = time.perf_counter()
        try:
            return await self._context.session.call_tool(name, arguments)
        except RolloutError as error:
            self.failure = error
            raise
        finally:
            timings = self._context.timings
            timings["tools"] = timings.get("tools", 0.0) + time.perf_counter() - began

    def finish(self, output: Any) -> None:
        """The agent is done.

        Raises:
            RolloutError: without having asked the model.
        """
        trajectory = self._context.trajectory
        if not trajectory.turns:
            reason = "the agent ended without having asked the model at base_url"
            raise self.refusal or RolloutError(FailureKind.AGENT_RUN_ERROR, Stage.AGENT, reason, terminal=False)
        if isinstance(output, str) and output != final_text(trajectory.items):
            self._conversation.add(assistant_message(output))
        trajectory.finish_reason = self.cut or FinishReason.STOP

    def _check_limits(self) -> None:
        """Raises RolloutError: the rollout has had what it may have."""
        if not self._conversation.turns_left:
            self.cut = FinishReason.MAX_TURNS
            raise _refused(f"the rollout has had its {self._config.max_turns} model calls (agent.max_turns)")
        if not self._conversation.tokens_left:
            self.cut = FinishReason.LENGTH
            raise _refused(f"the rollout has had its {self._config.max_tokens} tokens (agent.max_tokens)")

    async def _ask(self, items: list[Item], asked: Json) -> ModelReply:
        conversation, recorded = self._conversation, self._context.trajectory.items
        before = len(recorded)
        scene = [asked.get(name) for name in _SCENE]
        self._go_to(items, scene)
        try:
            reply = await conversation.ask(self._params(asked))
        except BaseException:
            del recorded[before:]
            self._here = None
            raise
        if reply.items:
            self._here = _Point(scene, _said(chat_messages(conversation.items)), [*conversation.items], reply.tokens)
            self._points.append(self._here)
        else:
            del recorded[before:]
            self._here = None
        return reply

    def _go_to(self, items: list[Item], scene: list[Any]) -> None:
        """Bring the conversation to where these items are its prompt."""
        conversation, trajectory = self._conversation, self._context.trajectory
        messages = chat_messages(items)
        point = self._longest(_said(messages), scene)
        if point is None:
            conversation.restart(items)
            if not trajectory.turns:
                trajectory.input[:] = items
            return
        if point is not self._here:
            conversation.restart(point.items, point.tokens)
        for message in messages[len(point.said) :]:
            conversation.add(_item(message))

    def _longest(self, said: list[Json], scene: list[Any]) -> _Point | None:
        """The point that most of what was said leads up to."""
        found, length = None, 0
        for point in reversed(self._points):
            size = len(point.said)
            if length < size <= len(said) and said[:size] == point.said and scene == point.scene:
                found, length = point, size
        return found

    def _params(self, asked: Json) -> Json:
        """The run's parameters over the agent's; tools are the agent's."""
        own = {key: value for key, value in self._context.params.items() if key not in _ASKED}
        params = {key: value for key, value in asked.items() if key not in _NOT_ITS}
        limit = params.pop("max_tokens", params.get("max_output_tokens"))
        if "tools" in params:
            params["tools"] = [_flat(tool) for tool in params["tools"]]
        if limit is not None:
            params["max_output_tokens"] = min(limit, own.pop("max_output_tokens", None) or limit)
        return {**params, **own}


def _as_json(reply: ModelReply) -> Json:
    """A reply as responders give it."""
    usage, tokens = reply.usage, reply.tokens
    exact = tokens and {"kept": 0, "suffix": tokens.prompt, "sampled": tokens.sampled, "logprobs": tokens.logprobs}
    return {
        "items": reply.items,
        "finish_reason": str(reply.finish_reason),
        "usage": {name: getattr(usage, name) for name in _USAGE},
        "tokens": exact,
    }


def _refused(reason: str) -> RolloutError:
    return RolloutError(FailureKind.MODEL_REJECTED_REQUEST, Stage.MODEL, reason)


def _item(message: Json) -> Item:
    """A chat message as an item, where items have a form of their own for it."""
    if message.get("role") == "tool":
        return function_call_output(message["tool_call_id"], _text(message.get("content")))
    return message


def _flat(tool: Json) -> Json:
    """A tool of Chat Completions in the form of Responses."""
    function = tool.get("function")
    return {"type": "function", **function} if isinstance(function, dict) else tool


def _said(messages: list[Json]) -> list[Json]:
    """What a conversation says, without what clients drop or rewrite: thoughts, ids, spacing of arguments."""
    return [_bare(message) for message in messages]


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
