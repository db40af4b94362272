"""Between a Gymnasium space and text, both ways."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from gym_ray.resources.toolbox import text_of
from gym_ray.types.errors import UserError

_TAG = re.compile(r"<action>(.{0,4096}?)</action>", re.IGNORECASE | re.DOTALL)
_COLOUR = re.compile(r"\x1b\[([\d;]*)m")
MAX_ACTION_CHARS = 4096


class ActionText:
    """How a model writes an action of ``space``. ``help``: what it is told.

    Raises:
        UserError: names for a space that is not Discrete, or not as many as it has actions.
    """

    def __init__(self, space: Any, names: Sequence[str] | None = None) -> None:
        kind = type(space).__name__
        if names is not None and (kind != "Discrete" or len(names) != int(space.n)):
            raise UserError(f"environment `gymnasium`: options.actions: {len(names)} names do not fit {space}")
        self._space, self._discrete, self._text = space, kind == "Discrete", kind == "Text"
        self._names = {name.lower(): index for index, name in enumerate(names or ())}
        self.help = f"Answer with <action>ACTION</action>; ACTION is {self._described(names)}."

    def read(self, text: str) -> Any:
        """The action in the last tag of ``text``, or in all of it when it has none.

        Raises:
            ValueError: that is no action of the space; the message is for the model.
        """
        tags = _TAG.findall(text)
        written = (tags[-1] if tags else text).strip()
        if len(written) > MAX_ACTION_CHARS:
            raise ValueError("That is no action.")
        action = self._parsed(written)
        if not self._space.contains(action):
            raise ValueError(f"{written[:80]!r} is no action.")
        return action

    def _described(self, names: Sequence[str] | None) -> str:
        if names is not None:
            return f"one of {', '.join(names)}"
        if self._discrete:
            first = int(self._space.start)
            return f"a number from {first} to {first + int(self._space.n) - 1}"
        return "plain text" if self._text else f"JSON for {self._space}"

    def _parsed(self, written: str) -> Any:
        if self._text:
            return written
        if written.lower() in self._names:
            return int(self._space.start) + self._names[written.lower()]
        try:
            value = json.loads(written)
            if not self._discrete:
                return self._space.from_jsonable([value])[0]
            return value if type(value) is int else None
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError, OverflowError):
            raise ValueError(f"{written[:80]!r} is no action.") from None


def observation_text(space: Any, observation: Any, picture: str | None) -> str:
    """A text observation as it is, any other as JSON; under it the picture, if the environment draws one."""
    if isinstance(observation, str):
        text = observation
    else:
        text = text_of(space.to_jsonable([observation]))
        text = text[1:-1] if text.startswith("[") else text
    return text if picture is None else f"{text}\n{plain(picture)}"


def plain(picture: str) -> str:
    """A terminal picture without colours: what was coloured stands in brackets."""
    return _COLOUR.sub(lambda code: "]" if code.group(1) in ("", "0") else "[", picture).strip("\n")
