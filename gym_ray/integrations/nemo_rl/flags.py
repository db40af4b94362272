"""Two flags of a sampled span, by which NeMo-RL can overwrite its advantage: a tool call and thinking gone wrong.

A call or a think tag that stands in the answer's text was not parsed, so it was never run, or was never thought. In an
item of thoughts alone a call was not run either, and a tag is wrong when it comes twice. Only the first text of the
call's last item is looked at. Source: NeMo-RL's ``environments/nemo_gym.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

CALL_PATTERNS = ("<tool_call>", "</tool_call>", "<function_call>", "</function_call>")
THINKING_TAGS = ("<think>", "</think>")


@dataclass(frozen=True, slots=True)
class Flags:
    """``calls``, ``tags``: what to look for."""

    calls: tuple[str, ...] = CALL_PATTERNS
    tags: tuple[str, ...] = THINKING_TAGS

    @classmethod
    def given(cls, calls: list[str] | None, tags: list[str] | None) -> Flags:
        """With what the trainer's settings say; the defaults where they say nothing."""
        return cls(tuple(calls or CALL_PATTERNS), tuple(tags or THINKING_TAGS))

    def of(self, item: dict[str, Any]) -> tuple[bool, bool]:
        """(invalid tool call, malformed thinking) of a model call's last item."""
        text = _first_text(item.get("content"))
        if text is not None:
            return any(mark in text for mark in self.calls), any(tag in text for tag in self.tags)
        text = _first_text(item.get("summary")) if item.get("type") == "reasoning" else None
        if text is None:
            return False, False
        return any(mark in text for mark in self.calls), any(text.count(tag) > 1 for tag in self.tags)


def _first_text(parts: Any) -> str | None:
    first = parts[0] if isinstance(parts, list) and parts else None
    text = first.get("text") if isinstance(first, dict) else None
    return text if isinstance(text, str) else None
