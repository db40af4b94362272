r"""The answer in LaTeX's ``\boxed{...}``."""

from __future__ import annotations

import re

MAX_BOX_CHARS = 4096
"""A longer box is no answer. The limit keeps the brace count short whatever the model wrote."""

_MARKER = "\\boxed{"
_ESCAPE_OR_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)


def last_boxed(text: str) -> str | None:
    r"""Content of the last ``\boxed{...}``, braces balanced, escaped ones (``\{``) not counted.

    Earlier boxes never count: whoever boxes several answers is held to the last. None when there is no box,
    or the last one is never closed (a cut-off answer).
    """
    start = text.rfind(_MARKER)
    if start < 0:
        return None
    start += len(_MARKER)
    depth = 1
    for token in _ESCAPE_OR_BRACE.finditer(text, start, start + MAX_BOX_CHARS):
        brace = token.group()
        if brace == "{":
            depth += 1
        elif brace == "}":
            depth -= 1
            if depth == 0:
                return text[start : token.start()]
    return None
