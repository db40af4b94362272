"""A generation worker as NeMo-RL's HTTP server has it, with scripted text instead of an engine.

Real are the tokenizer, the chat template, and the function that puts exact history into a prompt: NeMo-RL's own
``replace_prefix_tokens`` where the release has it. As there, ``temperature`` and ``top_p`` must be those of the
trainer, token ids come on the message, and the next call must bring them back. Text is tokenized letter by letter,
which is not how the tokenizer would: whoever renders history again ends up with other ids.

Facts: NeMo-RL's ``models/generation/vllm/vllm_worker_async.py``.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

Json = dict[str, Any]
Speak = Callable[[list[Json], random.Random], "str | Call"]
FILL = "[fill]"
"""A question with this is answered until the context window is full."""


@dataclass(frozen=True)
class Call:
    """A tool call instead of a text."""

    name: str
    arguments: Json


def splice() -> Callable[..., list[int]] | None:
    """NeMo-RL's function, None where the release keeps it elsewhere."""
    try:
        from nemo_rl.models.generation.openai_server_utils import replace_prefix_tokens
    except ImportError:
        return None
    return replace_prefix_tokens  # type: ignore[no-any-return]


class Worker:
    """One data-parallel rank. Seen afterwards: ``calls``, ``continued`` (calls that brought ids back), ``strangers``
    (of these, those whose ids another worker had made). ``deaf``: it answers 503 to everything."""

    def __init__(self, tokenizer: Any, speak: Speak, sampling: Json, max_model_len: int, seed: int) -> None:
        self._tokenizer, self._speak, self._sampling, self._max = tokenizer, speak, sampling, max_model_len
        self._random, self._splice = random.Random(seed), splice()
        self._made: set[tuple[int, ...]] = set()
        self.calls = self.continued = self.strangers = 0
        self.deaf = False

    async def start(self) -> str:
        """Listen; returns the base URL."""
        app = web.Application(client_max_size=1 << 30)
        app.router.add_post("/v1/chat/completions", self._post)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"

    async def stop(self) -> None:
        """Stop listening: from then on this worker is away."""
        await self._runner.cleanup()

    async def _post(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.calls += 1
        if self.deaf:
            return web.json_response({"error": {"message": "engine is dead"}}, status=503)
        wrong = {key: body.get(key) for key, value in self._sampling.items() if body.get(key) != value}
        if wrong or "top_k" in body or body.get("top_logprobs") is None or not body.get("logprobs"):
            return web.json_response({"error": {"message": f"AssertionError: sampling differs: {wrong}"}}, status=500)
        prompt = self._prompt(body["messages"], body.get("tools"))
        room = self._max - len(prompt)
        if room <= 0:
            text = f"This model's maximum context length is {self._max} tokens. However, your request has {len(prompt)}"
            return web.json_response({"error": {"message": text}}, status=400)
        return web.Response(text=json.dumps(self._answer(body, prompt, room)), content_type="application/json")

    def _answer(self, body: Json, prompt: list[int], room: int) -> Json:
        said = self._speak(body["messages"], self._random)
        message: Json = {"role": "assistant", "content": said if isinstance(said, str) else None}
        text = said if isinstance(said, str) else f"<tool_call>{json.dumps(said.__dict__)}</tool_call>"
        if isinstance(said, Call):
            function = {"name": said.name, "arguments": json.dumps(said.arguments)}
            message["tool_calls"] = [{"id": f"call_{self.calls}", "type": "function", "function": function}]
        ids = [token for letter in text for token in self._tokenizer.encode(letter, add_special_tokens=False)]
        reason = "tool_calls" if isinstance(said, Call) else "stop"
        ids.append(self._tokenizer.eos_token_id)
        if FILL in body["messages"][-1]["content"]:
            ids, reason = (ids * room)[:room], "length"
        ids = ids[: min(room, body.get("max_tokens") or room)]
        logprobs = [-math.log1p(self._random.random()) for _ in ids]
        self._made.add((*prompt, *ids))
        message |= {"prompt_token_ids": prompt, "generation_token_ids": ids, "generation_log_probs": logprobs}
        choice = {"index": 0, "message": message, "finish_reason": reason}
        usage = {"prompt_tokens": len(prompt), "completion_tokens": len(ids)}
        return {"id": f"chatcmpl-{self.calls}", "object": "chat.completion", "choices": [choice], "usage": usage}

    def _prompt(self, messages: list[Json], tools: Any) -> list[int]:
        whole = self._render(messages, tools, True)
        last = max((at for at, one in enumerate(messages) if one["role"] == "assistant"), default=None)
        if last is None or messages[last].get("generation_token_ids") is None:
            return whole
        before = [*messages[last]["prompt_token_ids"], *messages[last]["generation_token_ids"]]
        self.continued += 1
        self.strangers += tuple(before) not in self._made
        until = self._render(messages[: last + 1], tools, False)
        if self._splice is None:
            return [*before, *whole[len(until) :]]
        return self._splice(self._tokenizer, before, until, whole)

    def _render(self, messages: list[Json], tools: Any, generate: bool) -> list[int]:
        plain = [_plain(message) for message in messages]
        text = self._tokenizer.apply_chat_template(plain, tools=tools, tokenize=False, add_generation_prompt=generate)
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False)
        return ids


def _plain(message: Json) -> Json:
    calls = [
        {**call, "function": {**call["function"], "arguments": json.loads(call["function"]["arguments"])}}
        for call in message.get("tool_calls") or ()
    ]
    made = {key: message[key] for key in ("role", "tool_call_id") if key in message}
    return {**made, "content": message.get("content") or "", **({"tool_calls": calls} if calls else {})}
