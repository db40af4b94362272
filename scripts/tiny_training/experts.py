"""Dialogues in which a scripted expert solves generated tasks, its thoughts spelled out, tools really executed.

Invariants: the same arguments give the same dialogues; no task whose prompt is among the held-out ones
(:func:`held_out`) is ever taught. Thoughts leave only small steps: look at one option, add two digits, copy one id.
"""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass
from itertools import islice
from typing import Any

from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from gym_ray.environments.catalog import generator, solver
from gym_ray.environments.math import Math
from gym_ray.environments.mcqa import Mcqa
from gym_ray.environments.structured_outputs import StructuredOutputs
from gym_ray.environments.workplace import Workplace
from gym_ray.environments.workplace.generate import EASY_TOOLSET
from gym_ray.models.chat import chat_params
from gym_ray.models.serve.messages import template_messages
from gym_ray.resources.server import ResourcesServer
from gym_ray.resources.toolbox import Toolbox
from gym_ray.types.items import Item, function_call, function_call_output, function_calls, input_items, reasoning

from .policy import CHAT_TEMPLATE

SEED = 20260302
HELD_OUT_SEED = 7
"""Tasks of this seed are for measuring (and for ``scripts/demo``)."""
HELD_OUT = 256
"""How many of them are kept out of the training data, per environment."""
UNTHINKING = 0.05
"""Share of dialogues without reasoning, so that the policy also answers with ``enable_thinking=false``."""
SLIPS = 0.15
"""Share of tool dialogues with one failed or useless call before the right one. The slip itself is not learnt."""
ASSISTANT, NO_THOUGHT = "<|im_start|>assistant\n", "<think></think>"


@dataclass(frozen=True)
class Dialogue:
    """Rendered conversation, and the numbers of the assistant turns that are not to be imitated."""

    text: str
    slips: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Course:
    """One environment to learn: its name and its server."""

    name: str
    server: ResourcesServer


def courses() -> list[Course]:
    """What is taught."""
    return [
        Course("mcqa", Mcqa()),
        Course("math", Math()),
        Course("structured_outputs", StructuredOutputs()),
        Course("workplace", Workplace(toolset=EASY_TOOLSET)),
    ]


def held_out(name: str, count: int = HELD_OUT) -> list[dict[str, Any]]:
    """Rows for measuring."""
    return list(generator(name)(count, HELD_OUT_SEED))


def taught(name: str, count: int) -> list[dict[str, Any]]:
    """Rows for training: none has the prompt of a held-out one."""
    measured = {_prompt(row) for row in held_out(name)}
    rows = (row for row in generator(name)(count + HELD_OUT, SEED) if _prompt(row) not in measured)
    return list(islice(rows, count))


def _prompt(row: dict[str, Any]) -> str:
    return str(row["responses_create_params"]["input"])


async def dialogues(course: Course, count: int) -> list[Dialogue]:
    """``count`` solved tasks."""
    toolbox = Toolbox(course.server, 10.0)
    rng = random.Random(f"{SEED}/{course.name}")
    template = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()), chat_template=CHAT_TEMPLATE)
    tools = chat_params({"tools": toolbox.definitions}).get("tools")
    found = []
    for row in taught(course.name, count):
        session = await course.server.seed(course.server.Task.model_validate(row))
        items, thinking, slips = input_items(row["responses_create_params"]), rng.random() >= UNTHINKING, set()
        for number, (thought, turn, slip) in enumerate(lesson(course.name, row, rng)):
            items += [reasoning(thought)] * thinking + turn
            slips |= {number} if slip else set()
            for call in function_calls(turn):
                output = await toolbox.call(session, call["name"], json.loads(call["arguments"]))
                items.append(function_call_output(call["call_id"], output))
        text = template.apply_chat_template(template_messages(items), tools=tools, tokenize=False)
        text = text if thinking else text.replace(ASSISTANT, ASSISTANT + NO_THOUGHT)
        found.append(Dialogue(text, frozenset(slips)))
    return found


Step = tuple[str, list[Item], bool]
"""Thought, turn, and whether the turn is a slip."""


def lesson(environment: str, row: dict[str, Any], rng: random.Random) -> list[Step]:
    """The expert's turns with a thought before each."""
    turns = solver(environment)(row)
    if environment == "workplace":
        return _errand(row, turns, rng)
    think = {"math": _worked, "mcqa": _scanned, "structured_outputs": _fields}[environment]
    return [(think(row), turns[0], False)]


def _fields(row: dict[str, Any]) -> str:
    return "The fields are " + ", ".join(row["expected_object"]) + "."


def _worked(row: dict[str, Any]) -> str:
    """Digit by digit, the ones first, each carry written down."""
    left, sign, right = row["question"].removeprefix("What is ").removesuffix("?").split()
    a, b = int(left), int(right)
    if sign == "*":
        a, b = min(a, b), max(a, b)
        ones, tens = a * (b % 10), a * (b // 10)
        return f"{a} * {b % 10} = {ones}. {a} * {b // 10} = {tens}. {tens} + {ones // 10} = {tens + ones // 10}."
    if sign == "+":
        ones = a % 10 + b % 10
        tens = f"{a // 10} + {b // 10} + {ones // 10} = {a // 10 + b // 10 + ones // 10}"
        return f"{a % 10} + {b % 10} = {ones}. {tens}."
    borrowed = int(a % 10 < b % 10)
    ones = a % 10 + 10 * borrowed
    tens = f"{a // 10} - {b // 10} - {borrowed} = {a // 10 - b // 10 - borrowed}"
    return f"{ones} - {b % 10} = {ones - b % 10}. {tens}."


def _scanned(row: dict[str, Any]) -> str:
    """The options one by one until the right one; for the largest or smallest, all of them with the best so far."""
    prompt, steps = _prompt_text(row), []
    options = [next(iter(option.items())) for option in row["options"]]
    if extreme := re.search(r"largest|smallest", prompt):
        pick = max if extreme[0] == "largest" else min
        numbers = [int(text) for _, text in options]
        for at, (letter, text) in enumerate(options):
            best = pick(numbers[: at + 1])
            steps.append(f"{letter}: {text}, best {options[numbers.index(best)][0]}: {best}.")
        return " ".join(steps)
    if total := re.search(r"What is (\d+) \+ (\d+)\?", prompt):
        steps.append(f"{total[1]} + {total[2]} = {int(total[1]) + int(total[2])}.")
    for letter, text in options:
        fact, right = re.search(rf"{text} has (\d+)", prompt), letter == row["expected_answer"]
        steps.append(f"{letter}: {text}{f' has {fact[1]}' if fact else ''}, {'yes' if right else 'no'}.")
        if right:
            break
    return " ".join(steps)


def _prompt_text(row: dict[str, Any]) -> str:
    text: str = row["responses_create_params"]["input"][-1]["content"]
    return text


def _errand(row: dict[str, Any], turns: list[list[Item]], rng: random.Random) -> list[Step]:
    """Look up, change, report; now and then something fails first and is put right."""
    steps: list[Step] = []
    slip_at = rng.randrange(len(turns) - 1) if rng.random() < SLIPS else None
    for number, turn in enumerate(turns):
        calls = function_calls(turn)
        if not calls:
            steps.append(("That was all.", turn, False))
            continue
        name, arguments = calls[0]["name"], json.loads(calls[0]["arguments"])
        subject = arguments.get("id") or arguments.get("to") or arguments.get("person")
        thought = f"It is {subject}. I then need {name}." if subject else f"I first need {name}."
        if number == slip_at:
            wrong = json.dumps(_slip(arguments, rng))
            steps.append((thought, [function_call(name, wrong, f"slip_{number}")], True))
            thought = "That did not help. " + thought
        steps.append((thought, turn, False))
    return steps


def _slip(arguments: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """A harmless mistake: an id or address that does not exist, a search for something else."""
    if "id" in arguments:
        return arguments | {"id": f"e{rng.randint(100, 999)}"}
    for field in ("person", "to"):
        if field in arguments:
            return arguments | {field: str(arguments[field]).partition("@")[0]}
    field = next(iter(arguments))
    return arguments | {field: rng.choice(("Coffee", "Review", "Ana", "Ben", "Gus", "June", "e017"))}
