"""docs/neighbours.md, from which the tests take what they run."""

from __future__ import annotations

import re
from pathlib import Path

GUIDE = Path(__file__).parents[2] / "docs" / "neighbours.md"


def blocks(section: str, language: str) -> list[str]:
    """The guide's code blocks in ``language``, of the section whose title begins so."""
    (text,) = re.findall(rf"^## {section}.*?(?=^## |\Z)", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
