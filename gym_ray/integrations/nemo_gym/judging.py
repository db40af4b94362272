"""A hosted server's call to a model server, answered by one of the run's judges."""

from __future__ import annotations

import time
from typing import Any

from gym_ray.models.chat import chat_messages
from gym_ray.models.serve.openai_api import chat_turn, responses_turn
from gym_ray.resources.judge import Judge, JudgeReply
from gym_ray.types.response import response_object
from gym_ray.types.trajectory import FinishReason

Json = dict[str, Any]
CUT = (FinishReason.LENGTH, FinishReason.CONTEXT_WINDOW)


async def answered(judge: Judge, route: str, body: Json) -> Json:
    """The reply to ``body``, in the shape of its ``route``: ``/v1/responses`` or ``/v1/chat/completions``.

    Raises:
        MaskRollout: the judge did not answer.
        RolloutError: the request cannot be read.
    """
    chat = route.endswith("/chat/completions")
    turn = chat_turn(body) if chat else responses_turn(body)
    reply = await judge.respond(turn["items"], turn["params"])
    return (_chat if chat else _response)(body, reply, judge.name)


def _response(body: Json, reply: JudgeReply, model: str) -> Json:
    return response_object(reply.items, body, model, reply.finish_reason, reply.usage, "resp_judge", time.time())


def _chat(body: Json, reply: JudgeReply, model: str) -> Json:
    reason = "length" if reply.finish_reason in CUT else str(reply.finish_reason)
    usage = reply.usage
    return {
        "id": "chatcmpl-judge",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [{"index": 0, "message": chat_messages(reply.items)[0], "finish_reason": reason, "logprobs": None}],
        "usage": {
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        },
    }
