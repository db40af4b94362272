"""Invented functions for tasks about function calls: what they take, and how a user asks for them.

Nobody implements them. A :class:`Function` draws a request in words together with the arguments that fulfil it;
every argument stands in the request literally, so exactly one call is right.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

CITIES = ["Oslo", "Lima", "Cairo", "Paris", "Tokyo", "Quito", "Delhi", "Rome", "Bern", "Kyiv", "Accra", "Hanoi"]
CITIES += ["Seoul", "Dublin", "Lagos", "Madrid", "Vienna", "Prague", "Riga", "Sofia", "Tunis", "Doha", "Baku", "Minsk"]
NAMES = ["Ana", "Ben", "Cleo", "Dan", "Eve", "Finn", "Gus", "Hana", "Ivo", "June", "Kim", "Leo", "Mia", "Ned", "Oda"]
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
GOODS = ["milk", "bread", "rice", "tea", "salt", "soap", "eggs", "pears", "nuts", "beans", "honey", "oil", "corn"]
COINS = ["USD", "EUR", "JPY", "GBP", "CHF", "INR", "BRL", "KES"]
TONGUES = ["French", "German", "Hindi", "Korean", "Swahili", "Turkish", "Greek", "Dutch"]
NOTES = ["I am late", "call me", "see you soon", "all is well", "the door is open", "lunch is ready", "good luck"]

Drawn = tuple[str, dict[str, Any]]
"""A request in words, and the arguments that fulfil it."""


@dataclass(frozen=True, slots=True, eq=False)
class Function:
    """``parameters``: name to JSON type, all required. ``vague``: a request that leaves the arguments out."""

    name: str
    description: str
    parameters: dict[str, str]
    draw: Callable[[random.Random], Drawn]
    vague: str

    @property
    def definition(self) -> dict[str, Any]:
        """Its tool definition in the Responses API's layout."""
        properties = {name: {"type": kind} for name, kind in self.parameters.items()}
        schema = {"type": "object", "properties": properties, "required": list(properties)}
        return {
            "type": "function",
            "name": self.name,
            "description": self.description,
            "parameters": schema | {"additionalProperties": False},
            "strict": True,
        }


def _weather(rng: random.Random) -> Drawn:
    city, day = rng.choice(CITIES), rng.choice(DAYS)
    return f"What will the weather be in {city} on {day}?", {"city": city, "day": day}


def _alarm(rng: random.Random) -> Drawn:
    hour, minute = rng.randint(0, 23), rng.randint(0, 59)
    return f"Set an alarm for {hour}:{minute:02d}.", {"hour": hour, "minute": minute}


def _money(rng: random.Random) -> Drawn:
    amount, (source, target) = rng.randint(1, 999), rng.sample(COINS, 2)
    return f"Change {amount} {source} to {target}.", {"amount": amount, "source": source, "target": target}


def _shopping(rng: random.Random) -> Drawn:
    item, count = rng.choice(GOODS), rng.randint(1, 40)
    return f"Put {count} {item} on my list.", {"item": item, "count": count}


def _flight(rng: random.Random) -> Drawn:
    (origin, target), day = rng.sample(CITIES, 2), rng.choice(DAYS)
    return f"Find a flight from {origin} to {target} on {day}.", {"origin": origin, "target": target, "day": day}


def _note(rng: random.Random) -> Drawn:
    name, text = rng.choice(NAMES), rng.choice(NOTES)
    return f'Tell {name}: "{text}".', {"name": name, "text": text}


def _table(rng: random.Random) -> Drawn:
    people, day = rng.randint(1, 12), rng.choice(DAYS)
    quiet = rng.random() < 0.5
    request = f"Book a {'quiet ' if quiet else ''}table for {people} on {day}."
    return request, {"people": people, "day": day, "quiet": quiet}


def _translation(rng: random.Random) -> Drawn:
    text, language = rng.choice(NOTES), rng.choice(TONGUES)
    return f'How do I say "{text}" in {language}?', {"text": text, "language": language}


FUNCTIONS = (
    Function(
        "get_weather", "Weather of a city.", {"city": "string", "day": "string"}, _weather, "What about the weather?"
    ),
    Function("set_alarm", "Set an alarm, 24 hours.", {"hour": "integer", "minute": "integer"}, _alarm, "Wake me."),
    Function(
        "change_money",
        "Convert an amount of money.",
        {"amount": "number", "source": "string", "target": "string"},
        _money,
        "Change some money.",
    ),
    Function("add_item", "Add to the shopping list.", {"item": "string", "count": "integer"}, _shopping, "Add it."),
    Function(
        "find_flight",
        "Find a flight.",
        {"origin": "string", "target": "string", "day": "string"},
        _flight,
        "I want to fly.",
    ),
    Function("send_note", "Send a short text.", {"name": "string", "text": "string"}, _note, "Send a text."),
    Function(
        "book_table",
        "Book a table.",
        {"people": "integer", "day": "string", "quiet": "boolean"},
        _table,
        "Book us a table.",
    ),
    Function(
        "translate", "Translate a text.", {"text": "string", "language": "string"}, _translation, "Translate that."
    ),
)
"""All of them; names are unique."""


def offer(rng: random.Random, wanted: list[Function], many: int) -> list[dict[str, Any]]:
    """Definitions of ``wanted`` and of others, ``many`` in all, in any order."""
    others = [function for function in FUNCTIONS if function not in wanted]
    offered = [*wanted, *rng.sample(others, many - len(wanted))]
    rng.shuffle(offered)
    return [function.definition for function in offered]
