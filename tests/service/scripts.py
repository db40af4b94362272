"""What the scripted policy says in tests of the service."""

from __future__ import annotations

import random

from tests.support.endpoint import Call


def guess(call: Call) -> str:
    """``sum 2 3 p`` -> the right sum with a chance of p per cent, else a wrong one."""
    _, a, b, chance = call.question.split()
    right = random.Random(call.number).random() * 100 < int(chance)
    return str(int(a) + int(b) + (not right))
