"""What environments with a judge share: prompts in files, fences around what the model wrote, reading verdicts.

The model under test writes part of the judge's prompt, so it will try to write the verdict too. Against that:

- its text stands in a fence whose number is made from the text itself, so no text can close its own fence;
- verdict markers in it are taken out before the judge sees it;
- the verdict is the last marker of the judge's final text, so that one it quoted on the way does not count.

A verdict that cannot be read is asked for again, then masks the rollout. It is never a score.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import string
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from gym_ray.resources.judge import Judge
from gym_ray.types.errors import FailureKind, MaskRollout, UserError
from gym_ray.types.items import Item, final_text
from gym_ray.types.trajectory import Trajectory

T = TypeVar("T")
LABEL_PARAMS: Mapping[str, Any] = {"temperature": 0.0, "max_output_tokens": 8192}
"""Create parameters of a judge that ends on a label: room for one that thinks first."""
KEPT_CHARS = 4000
"""How much of the end of a judge's text goes into the row."""
THOUGHT_ENDS = "</think>"
"""What stands before it in a message was thought aloud."""
_MARKER_GONE = "(verdict marker removed)"


class Prompt:
    """A prompt template: a text file with ``{field}`` placeholders (a brace is written ``{{``)."""

    def __init__(self, file: Path, fields: Collection[str]) -> None:
        """Raises UserError when the file cannot be read, or has a placeholder that is none of ``fields``."""
        try:
            self._text = file.read_text(encoding="utf-8").strip()
            used = {name for _, name, _, _ in string.Formatter().parse(self._text) if name is not None}
        except (OSError, ValueError) as error:
            raise UserError(f"prompt {file}: {error}") from None
        if unknown := sorted(used - set(fields)):
            known = ", ".join(f"{{{name}}}" for name in fields)
            raise UserError(f"prompt {file}: no field {{{unknown[0]}}}; there are {known}; a brace is written {{{{")

    def fill(self, **values: str) -> str:
        """The prompt."""
        return self._text.format(**values)


def load_prompt(home: str, name: str, override: str | None, fields: Collection[str]) -> Prompt:
    """``prompts/NAME.md`` beside the module file ``home``; ``override``: another of them by its name, or any file."""
    chosen = override or name
    own = Path(home).parent / "prompts" / f"{chosen}.md"
    return Prompt(own if own.is_file() else Path(chosen).expanduser(), fields)


def fenced(what: str, text: str, labels: Sequence[str] = ()) -> str:
    """``text`` between two lines ``<what NUMBER>`` that it cannot contain, without markers of ``labels``."""
    text = _markers(tuple(labels)).sub(_MARKER_GONE, text) if labels else text
    number = hashlib.sha256(text.encode(errors="replace")).hexdigest()[:8]
    return f"<{what} {number}>\n{text.strip()}\n</{what} {number}>"


@lru_cache(maxsize=64)
def _markers(labels: tuple[str, ...]) -> re.Pattern[str]:
    """Bracketed labels, whatever their case and spacing. A bare word is no marker: ordinary text has it too."""
    marked = [label for label in labels if not label.isalpha()]
    spaced = [r"\s*".join(re.escape(character) for character in label if not character.isspace()) for label in marked]
    return re.compile("|".join(spaced) or r"(?!)", re.IGNORECASE)


def answer_of(trajectory: Trajectory) -> str:
    """The model's last message without what it thought aloud, stripped."""
    return final_text(trajectory.items).rpartition(THOUGHT_ENDS)[2].strip()


def last_label(text: str, labels: Sequence[str]) -> str | None:
    """The label that comes last; where several match, the longest (``INCORRECT`` is not ``CORRECT``)."""
    pattern = "|".join(map(re.escape, sorted(labels, key=len, reverse=True)))
    found = re.findall(pattern, text)
    return found[-1] if found else None


@dataclass(slots=True)
class Verdict:
    """A label, and the judge's text that it was read from."""

    label: str
    text: str

    def record(self) -> dict[str, str]:
        """For ``judge_evaluations`` in the row."""
        return {"verdict_label": self.label, "text": self.text[-KEPT_CHARS:]}


@dataclass(frozen=True, slots=True)
class Asking:
    """How a judge is asked. ``params``: create parameters. ``tries``: askings before a verdict counts as unreadable."""

    params: Mapping[str, Any] = field(default_factory=lambda: LABEL_PARAMS)
    tries: int = 2

    async def label(self, judge: Judge, prompt: str, labels: Sequence[str]) -> Verdict:
        """The judge's verdict.

        Raises:
            MaskRollout: ``judge_failed`` or ``judge_unparseable``.
        """
        label, text = await self.read(judge, prompt, lambda text: last_label(text, labels), " or ".join(labels))
        return Verdict(label, text)

    async def read(
        self, judge: Judge, prompt: str | list[Item], reader: Callable[[str], T | None], wanted: str
    ) -> tuple[T, str]:
        """What ``reader`` finds in the judge's text (None: nothing), and that text. ``wanted``: in words.

        Raises:
            MaskRollout: ``judge_failed`` or ``judge_unparseable``.
        """
        text = ""
        for last in (number == self.tries for number in range(1, self.tries + 1)):
            try:
                text = await judge.ask(prompt, self.params)
            except MaskRollout as mask:
                if last or mask.kind != FailureKind.JUDGE_UNPARSEABLE:
                    raise
                continue
            found = reader(text)
            if found is not None:
                return found, text
        reason = f"judge `{judge.name}` did not say {wanted}: {text[-200:]!r}"
        raise MaskRollout(FailureKind.JUDGE_UNPARSEABLE, reason)


def asking(params: Mapping[str, Any] | None, tries: int, default: Mapping[str, Any] = LABEL_PARAMS) -> Asking:
    """From an environment's options ``judge_params`` (over ``default``; null unsets one) and ``judge_tries``."""
    if tries < 1:
        raise ValueError(f"judge_tries must be at least 1, not {tries}")
    merged = {**default, **(params or {})}
    return Asking({key: value for key, value in merged.items() if value is not None}, tries)


async def together(*work: Coroutine[Any, Any, T]) -> list[T]:
    """All results, asked side by side; the first error ends the others."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
