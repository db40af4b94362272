"""An engine without a model, and tokenizers for the template families that exist in the wild."""

from __future__ import annotations

import asyncio
from functools import cache
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from gym_ray.models.serve.engine import Generation

WEIGHTS = Path(__file__).parents[3] / "gym_ray" / "models" / "tiny" / "weights"

STRIPPING = """\
{%- set ns = namespace(last=-1) -%}
{%- for message in messages -%}{%- if message.role == 'user' -%}{%- set ns.last = loop.index0 -%}{%- endif -%}
{%- endfor -%}
{%- for message in messages -%}
{{- '<|im_start|>' + message.role + '\\n' -}}
{%- if message.role == 'assistant' and message.reasoning_content and loop.index0 > ns.last -%}
{{- '<think>' + message.reasoning_content.strip() + '</think>' -}}{%- endif -%}
{{- message.content | trim -}}
{%- for call in message.tool_calls or [] -%}
{{- '<tool_call>' + call.function.name + (call.function.arguments | tojson) + '</tool_call>' -}}
{%- endfor -%}
{{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"""
"""Drops the reasoning of turns before the last user message, and trims contents (as Qwen3's template does)."""

UNMARKED = """\
{%- for message in messages -%}{{- message.role + ': ' + message.content + '\\n' -}}{%- endfor -%}
{%- if add_generation_prompt -%}{{- 'assistant: ' -}}{%- endif -%}"""
"""Ends turns with plain text, so that nothing marks where the model's turn ended."""


@cache
def tokenizer() -> Any:
    """The embedded policy's own."""
    return AutoTokenizer.from_pretrained(WEIGHTS)


class FakeEngine:
    """Samples prepared texts, split into tokens as no tokenizer would: one byte each.

    ``said``: one text per call; None: never ends. ``seen``: the prompts it got. ``hanging``, ``aborted``: a
    call that never ends has begun, was cancelled.
    """

    def __init__(self, said: list[str | None], max_len: int = 4096, logprob: float = -0.5) -> None:
        self.tokenizer, self.max_len, self.said, self._logprob = tokenizer(), max_len, list(said), logprob
        self.stop_ids = [self.tokenizer.convert_tokens_to_ids(name) for name in ("<|im_end|>", "<|endoftext|>")]
        self.seen: list[list[int]] = []
        self.part = 1
        self.sampling: list[dict[str, Any]] = []
        self.hanging, self.aborted = asyncio.Event(), asyncio.Event()

    async def start(self) -> None:
        """Ready at once."""

    async def health(self) -> None:
        """Well."""

    async def stop(self) -> None:
        """Nothing to stop."""

    async def stream(self, prompt: list[int], sampling: dict[str, Any], request_id: str) -> Any:
        """What ``generate`` gives, ``part`` ids at a time."""
        whole = await self.generate(prompt, sampling, request_id)
        for start in range(0, len(whole.ids), self.part):
            end = start + self.part
            stopped = whole.stopped and end >= len(whole.ids)
            yield Generation(whole.ids[start:end], whole.logprobs[start:end], stopped)

    async def generate(self, prompt: list[int], sampling: dict[str, Any], request_id: str) -> Generation:
        self.seen.append(prompt)
        self.sampling.append(sampling)
        text = self.said.pop(0)
        if text is None:
            self.hanging.set()
            try:
                await asyncio.sleep(3600)
            finally:
                self.aborted.set()
        ids = [*bytewise(self.tokenizer, text or ""), self.stop_ids[0]]
        cut = ids[: sampling["max_tokens"]]
        return Generation(cut, [self._logprob] * len(cut), stopped=len(cut) == len(ids))


def bytewise(tokenizer: Any, text: str) -> list[int]:
    """``text`` as single-character tokens: valid ids, and not what the tokenizer itself would make of it."""
    return [token for character in text for token in tokenizer.encode(character, add_special_tokens=False)]
