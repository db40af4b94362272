"""Chat Completions: a reply as ``chat.completion``, or as ``chat.completion.chunk`` objects that add up to it.

Ids and logprobs come with the first chunk after they were sampled, calls whole at the end, the triplet of
NeMo-RL with the finish reason. Shapes: the OpenAI API reference, and vLLM's additions for token ids.
"""

from __future__ import annotations

from typing import Any

from gym_ray.models.serve.engine import Piece, Turn
from gym_ray.models.serve.openai_api import (
    Json,
    TokenTexts,
    chat_finish,
    chat_head,
    chat_reply,
    chat_token_texts,
    chat_usage,
    logprob_entries,
    triplet,
    wants_tokens,
)
from gym_ray.models.serve.stream import Told
from gym_ray.types.items import function_calls


class ChatFace:
    """See :class:`~gym_ray.models.serve.stream.Face`."""

    end = b"data: [DONE]\n\n"

    def __init__(self, body: Json, turn: Turn, model: str, token_texts: TokenTexts) -> None:
        self._body, self._turn, self._model, self._texts = body, turn, model, token_texts
        self._head = chat_head(model, "chat.completion.chunk")
        self._told, self._sent, self._begun = Told(), 0, False
        self._ids, self._logprobs = wants_tokens(body), bool(body.get("logprobs"))

    def events(self, piece: Piece) -> list[Json]:
        """See :class:`~gym_ray.models.serve.stream.Face`."""
        if piece.reply is not None:
            return self._last(piece.reply)
        for said in piece.said:
            self._told.add(*said)
        return self._first(piece.prompt) + self._chunks(piece.said, piece)

    def failure(self, error: Json) -> Json:
        """See :class:`~gym_ray.models.serve.stream.Face`."""
        return {"error": error}

    def _first(self, prompt: list[int] | None) -> list[Json]:
        if self._begun:
            return []
        self._begun = True
        chunk = self._chunk({"role": "assistant", "content": ""})
        return [chunk | {"prompt_token_ids": prompt} if self._ids and prompt is not None else chunk]

    def _chunks(self, said: list[Any], piece: Piece) -> list[Json]:
        """One chunk per text; the first one bears the ids and logprobs."""
        chunks = [self._chunk(_delta(*one)) for one in said]
        if piece.ids and not chunks and (self._ids or self._logprobs):
            chunks = [self._chunk({})]
        if piece.ids and chunks:
            choice = chunks[0]["choices"][0]
            if self._ids:
                choice["token_ids"] = piece.ids
            if self._logprobs:
                texts = chat_token_texts(self._body, self._texts)
                choice["logprobs"] = {"content": logprob_entries(piece.ids, piece.logprobs, piece.top, texts)}
        self._sent += len(piece.ids)
        return chunks

    def _last(self, reply: Json) -> list[Json]:
        rest, tokens = self._told.rest(reply["items"]), reply["tokens"]
        exact = triplet(self._turn, reply) if self._ids else {}
        chunks = self._first(exact.get("prompt_token_ids"))
        left = Piece()
        if tokens:
            top = tokens.get("top")
            ids, logprobs = tokens["sampled"][self._sent :], tokens["logprobs"][self._sent :]
            left = Piece(ids=ids, logprobs=logprobs, top=top and top[self._sent :])
        chunks += self._chunks(rest, left)
        for index, call in enumerate(function_calls(reply["items"])):
            function = {"name": call["name"], "arguments": ""}
            whole = {"index": index, "id": call["call_id"], "type": "function", "function": function}
            chunks.append(self._chunk({"tool_calls": [whole]}))
            arguments = {"index": index, "function": {"arguments": call["arguments"]}}
            chunks.append(self._chunk({"tool_calls": [arguments]}))
        chunks.append(self._chunk(exact, chat_finish(reply)))
        if (self._body.get("stream_options") or {}).get("include_usage"):
            chunks.append({**self._head, "choices": [], "usage": chat_usage(reply)})
        return chunks

    def _chunk(self, delta: Json, finish: str | None = None) -> Json:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return {**self._head, "choices": [choice]}

    def whole(self, reply: Json) -> Json:
        """The same reply, unstreamed."""
        return chat_reply(self._body, self._turn, reply, self._model, self._texts)


def _delta(kind: str, text: str) -> Json:
    # Both names of reasoning, as in the unstreamed message.
    return {"content": text} if kind == "text" else {"reasoning_content": text, "reasoning": text}
