"""The program in a model's answer."""

from __future__ import annotations

FENCE = "```"


def last_block(text: str) -> str:
    """The lines between the last two lines that have a fence in them; "" when there are not two.

    LiveCodeBench's rule. An answer with an unclosed last block thus gives what lies before that block.
    """
    lines = text.split("\n")
    fences = [number for number, line in enumerate(lines) if FENCE in line]
    return "\n".join(lines[fences[-2] + 1 : fences[-1]]) if len(fences) >= 2 else ""


def breaks_reasoning_format(answer: str, reasoning: str) -> bool:
    """Whether thinking tags stand in the answer, or more than once in the reasoning."""
    opened, closed = "<think>", "</think>"
    return opened in answer or closed in answer or reasoning.count(opened) > 1 or reasoning.count(closed) > 1
