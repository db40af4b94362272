"""What the scripted endpoint says in end-to-end tests. Each function is one script."""

from __future__ import annotations

import random
import re

from tests.support.endpoint import Call, Fault, Say


def _numbers(call: Call) -> list[int]:
    return [int(number) for number in re.findall(r"-?\d+", call.question)]


def play(call: Call) -> str | Say:
    """One script for all of ``tests/support/envs.py``: the question says what is wanted.

    ``sum 2 3`` -> "5"; ``bump 3`` -> three calls of ``bump``, then "3"; ``hang`` -> calls ``hang``, then "ok";
    ``long 4`` -> a text whose length varies by request; anything else -> "ok".
    """
    word, numbers = call.question.split(" ")[0], _numbers(call)
    if word == "sum":
        return str(sum(numbers))
    if word == "bump":
        done = len(call.outputs)
        return Say(calls=[("bump", {})]) if done < numbers[0] else Say(str(numbers[0]))
    if word == "hang" and not call.outputs:
        return Say(calls=[("hang", {})])
    if word == "long":
        return "x" * (1 + call.number % numbers[0])
    return "ok"


def flaky(call: Call) -> str | Say | Fault:
    """:func:`play`, but three calls in ten go wrong, each in its own way."""
    dice = random.Random(call.number).random()
    faults = [
        Fault(429, retry_after="0"),
        Fault(500),
        Fault(503),
        Fault(drop="start"),
        Fault(drop="middle"),
        Fault(200, body="{not json"),
    ]
    return faults[call.number % len(faults)] if dice < 0.3 else play(call)
