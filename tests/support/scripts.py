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


def judge(call: Call) -> str | Fault:
    """A judge of equivalence: equal when the candidate's text is the reference's. ``DOWN`` and ``MUMBLE`` for a
    reference make it fail, or not come to a verdict."""
    reference, candidate = (
        re.search(rf"<{name} \w+>\n(.*?)\n</{name} ", call.question, re.DOTALL) for name in ("reference", "candidate")
    )
    assert reference is not None
    assert candidate is not None
    if reference[1] == "DOWN":
        return Fault(503)
    if reference[1] == "MUMBLE":
        return "Who can tell?"
    return "[[A=B]]" if reference[1] == candidate[1] else "[[A!=B]]"


def player_and_judge(call: Call) -> str | Say:
    """:func:`play`, and a judge of two responses that likes the longer one."""
    if "score_1" not in call.question:
        return play(call)
    first, second = (len(call.question.split(f"<response_{which}")[1].split("</")[0]) for which in "12")
    return f'{{"score_1": {5 if first > second else 3}, "score_2": {5 if second > first else 3}, "ranking": 3.5}}'
