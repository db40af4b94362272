"""What the scripted endpoint says to foreign environments. Each function is one script."""

from __future__ import annotations

import json
import re

from tests.support.endpoint import Call, Fault, Say


def _turn(call: Call) -> int:
    return sum(item.get("role") == "assistant" for item in call.items)


def cross_the_lake(call: Call) -> str:
    """Down, down, right, right, down, right, with a text that is no action in between."""
    return ["<action>down</action>", "1", "right", "so <action>right</action>", "fly", "down", "RIGHT"][_turn(call)]


def say_it_twice(call: Call) -> Say:
    """Two steps, the second with a field that is missing, a third, then done."""
    steps = [{"message": "hello"}, {"massage": "hello"}, {"message": "a longer text"}]
    done = len(call.outputs)
    return Say(calls=[("step", steps[done])]) if done < len(steps) else Say("done")


def use_tools(call: Call) -> Say:
    """A tool of the environment, one that it does not have, then done."""
    calls = [("add", {"a": 2, "b": 3}), ("multiply", {"a": 2})]
    done = len(call.outputs)
    return Say(calls=[calls[done]]) if done < len(calls) else Say("5")


def reverse(call: Call) -> str:
    """The last word of the question, backwards; unchanged, which is wrong, when it ends in x."""
    word = re.findall(r"\w+", call.question)[-1]
    return word if word.endswith("x") else word[::-1]


def write_item(call: Call) -> str:
    """A structured column's value."""
    options = [{"A": "a chair"}, {"B": "an apple"}]
    return json.dumps({"question": "Which is a fruit?", "options": options, "answer": "B"})


def box_the_sum(call: Call) -> str:
    """The sum of the question's two numbers."""
    a, b = re.findall(r"\d+", call.question)
    return f"\\boxed{{{int(a) + int(b)}}}"


def tell_the_time(call: Call) -> Say:
    """Asks the clock, then says what it answered."""
    return Say(call.outputs[-1]) if call.outputs else Say(calls=[("clock", {"unused": "now"})])


def two_in_three(call: Call) -> str:
    """A letter, and every third time another one."""
    return "It is \\boxed{B}." if call.number % 3 else "It is \\boxed{A}."


def refuse(call: Call) -> Fault:
    """No key is good enough."""
    return Fault(401, {"error": {"message": "wrong key"}})
