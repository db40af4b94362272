"""The SQL in a model's answer."""

from __future__ import annotations

import re

_TAGGED = re.compile(r"```sql\b\s*(.*?)\s*```", re.IGNORECASE | re.DOTALL)
_BLOCK = re.compile(r"```[^\n`]*\n(.*?)```", re.DOTALL)
_STATEMENT = re.compile(r"(?:SELECT|INSERT|UPDATE|DELETE|WITH|VALUES|CREATE|ALTER|DROP)\s", re.IGNORECASE)
_BARE = re.compile(r"\b(?:SELECT|INSERT|UPDATE|DELETE|WITH)\s", re.IGNORECASE)
_HEADING = re.compile(r"\A\*\*[^\n]*\*\*\s*")


def find_sql(text: str, fenced_only: bool) -> str | None:
    """The last ```` ```sql ```` block with a letter in it.

    Unless ``fenced_only``: else the last other block that begins like SQL, else the text from the first statement
    word on, up to the last semicolon if one follows.
    """
    for block in reversed(_TAGGED.findall(text)):
        if any(character.isalpha() for character in block):
            return _HEADING.sub("", block).strip()
    if fenced_only:
        return None
    for block in reversed(_BLOCK.findall(text)):
        if _STATEMENT.match(block.strip()):
            return str(block).strip()
    start = _BARE.search(text)
    if start is None:
        return None
    end = text.rfind(";")
    return text[start.start() : end + 1 if end > start.start() else None].strip()
