"""Makes ``database.json``: ``python -m gym_ray.environments.workplace.build > database.json``.

People, subjects and companies are invented; addresses are under ``.example``. The same seed makes the same file,
byte for byte. Rebuilding it with other numbers changes what every task means, so do it only with new tasks.
"""

from __future__ import annotations

import random
import sys
from datetime import date, timedelta
from typing import Any

import orjson

from gym_ray.environments.workplace.database import TABLES

SEED = 20260302
TODAY = date(2026, 3, 2)
DOMAIN = "office.example"

FIRST = ["Ana", "Ben", "Cleo", "Dana", "Emil", "Fay", "Gus", "Hana", "Ivo", "June", "Kofi", "Lena"]
FIRST += ["Milo", "Nora", "Omar", "Pia", "Quinn", "Rosa", "Sven", "Tara", "Uma", "Vik", "Wren", "Yara"]
LAST = ["Abel", "Brandt", "Costa", "Diaz", "Ekman", "Fuchs", "Grant", "Hayes", "Ito", "Jansen", "Klein", "Lund"]
LAST += ["Moreau", "Nagy", "Ortiz", "Park", "Reyes", "Silva", "Tanaka", "Urban", "Vance", "Weber", "Young", "Zhou"]
TEAMS = {"sales": "seller", "design": "designer", "engineering": "engineer", "finance": "accountant"}
MEETINGS = ["Budget review", "Sprint planning", "Design critique", "Sales call", "One on one", "Hiring sync"]
MEETINGS += ["Risk review", "Roadmap talk", "Demo", "Retrospective", "Launch check", "Training"]
SUBJECTS = ["Toner order", "Office plants", "Travel plans", "Invoice 118", "New badge", "Printer broken"]
SUBJECTS += ["Team lunch", "Client feedback", "Contract draft", "Holiday dates", "Desk move", "Server outage"]
BODIES = ["Could you have a look today?", "Please tell me what you think.", "I need an answer by Friday."]
BODIES += ["Just so that you know.", "Can we talk about this soon?", "Let me know if this works for you."]
WORK = ["Fix login page", "Write press text", "Update price list", "Test backup", "Plan offsite", "Draw new icons"]
WORK += ["Clean data set", "Review contract", "Order laptops", "Prepare audit", "Translate guide", "Sort tickets"]
BOARDS = ["web", "mobile", "backoffice"]
TASK_STATUS = ["todo", "doing", "review", "done"]
COMPANIES = ["Alder", "Birch", "Cedar", "Dune", "Ember", "Fjord", "Glade", "Harbor", "Inlet", "Juniper", "Kelp", "Loom"]
COMPANIES += ["Maple", "North", "Opal", "Pine", "Quarry", "Ridge", "Stone", "Tide", "Umber", "Vale", "Willow", "Yarrow"]
PRODUCTS = ["hardware", "software", "support", "training"]
CUSTOMER_STATUS = ["lead", "qualified", "won", "lost"]
CATEGORIES = ["travel", "meals", "supplies", "software"]


def build(seed: int = SEED) -> dict[str, dict[str, dict[str, Any]]]:
    """Table -> id -> record."""
    rng = random.Random(seed)
    people = _people(rng)
    addresses = [person["email"] for person in people]
    tables = {
        "people": people,
        "emails": [_email(rng, subject, sender) for subject, sender in _pairs(rng, SUBJECTS, addresses, 48)],
        "events": [_event(rng, title, guest) for title, guest in _pairs(rng, MEETINGS, addresses, 48)],
        "tasks": [_task(rng, title, owner) for title, owner in _pairs(rng, WORK, addresses, 48)],
        "customers": [_customer(rng, name, addresses) for name in COMPANIES],
        "expenses": [_expense(rng, addresses) for _ in range(30)],
    }
    return {
        name: {f"{TABLES[name]}{number:03d}": record for number, record in enumerate(records, 1)}
        for name, records in tables.items()
    }


def _people(rng: random.Random) -> list[dict[str, Any]]:
    last = rng.sample(LAST, len(FIRST))
    teams = [team for team in TEAMS for _ in range(len(FIRST) // len(TEAMS))]
    rng.shuffle(teams)
    return [
        {
            "name": f"{first} {family}",
            "email": f"{first}.{family}@{DOMAIN}".lower(),
            "team": team,
            "role": TEAMS[team],
        }
        for first, family, team in zip(FIRST, last, teams, strict=True)
    ]


def _pairs(rng: random.Random, titles: list[str], addresses: list[str], count: int) -> list[tuple[str, str]]:
    """Distinct (title, address) pairs, so that both together name one record; each title equally often."""
    pairs: list[tuple[str, str]] = []
    for title in titles:
        pairs += [(title, address) for address in rng.sample(addresses, count // len(titles))]
    rng.shuffle(pairs)
    return pairs


def _day(rng: random.Random, first: int, last: int) -> str:
    return str(TODAY + timedelta(days=rng.randint(first, last)))


def _workday(rng: random.Random) -> str:
    day = TODAY + timedelta(days=rng.randint(1, 18))
    return str(day - timedelta(days=max(0, day.weekday() - 4)))


def _email(rng: random.Random, subject: str, sender: str) -> dict[str, Any]:
    sent = f"{_day(rng, -20, -1)} {rng.randint(8, 17):02d}:{rng.choice((0, 15, 30, 45)):02d}"
    return {"folder": "inbox", "person": sender, "subject": subject, "body": rng.choice(BODIES), "sent": sent}


def _event(rng: random.Random, title: str, guest: str) -> dict[str, Any]:
    start = f"{_workday(rng)} {rng.randint(9, 16):02d}:{rng.choice((0, 30)):02d}"
    return {"title": title, "person": guest, "start": start, "minutes": rng.choice((30, 45, 60, 90))}


def _task(rng: random.Random, title: str, owner: str) -> dict[str, Any]:
    status, board = rng.choice(TASK_STATUS), rng.choice(BOARDS)
    return {"title": title, "owner": owner, "status": status, "due": _day(rng, -5, 30), "board": board}


def _customer(rng: random.Random, name: str, addresses: list[str]) -> dict[str, Any]:
    return {
        "name": name,
        "email": f"hello@{name.lower()}.example",
        "product": rng.choice(PRODUCTS),
        "status": rng.choice(CUSTOMER_STATUS),
        "owner": rng.choice(addresses[:6]),
        "contacted": _day(rng, -60, -1),
    }


def _expense(rng: random.Random, addresses: list[str]) -> dict[str, Any]:
    return {
        "owner": rng.choice(addresses[:12]),
        "category": rng.choice(CATEGORIES),
        "amount": rng.randint(5, 900),
        "spent": _day(rng, -30, -1),
        "status": rng.choice(("filed", "filed", "approved", "rejected")),
    }


if __name__ == "__main__":
    sys.stdout.buffer.write(orjson.dumps(build(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
