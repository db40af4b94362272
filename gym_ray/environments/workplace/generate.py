"""Office tasks: one request, two or three calls at the easy level, several bulk changes at the hard one.

Every request names its records so that exactly one set of calls fulfils it. A family draws a request and the turns
of an expert: lookups first, then the changes. The changes are the row's ``ground_truth``; all turns together are
its ``expert_turns``, which only :func:`solve` reads.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from typing import Any

import orjson

from gym_ray.environments.generate import Difficulty, Row, Turn, distinct_rows, prompt_params
from gym_ray.environments.workplace.database import NOW, Record, base
from gym_ray.types.items import assistant_message, function_call

EASY_TOOLSET = ("find_person", "search_events", "create_event", "update_event", "delete_event", "send_email")
"""Tools enough for every easy task: ``Workplace(toolset=EASY_TOOLSET)`` keeps prompts short."""
SYSTEM = "Today is Monday 2026-03-02. Do what is asked with the tools, then say that it is done."
TITLES = ["Coffee", "Kickoff", "Handover", "Checkup", "Interview", "Workshop", "Review", "Lunch"]
SUBJECTS = ["Thanks", "Question", "Reminder", "News", "Agenda", "Schedule", "Update", "Keys", "Parking", "Photos"]
BODIES = ["See you soon.", "Please call me.", "All is ready.", "Can you help?", "It went well.", "I am late today."]
BODIES += ["Thank you very much.", "Let us meet at noon.", "The door is open.", "I will be away."]
JOBS = ["Check stock", "Call supplier", "Write report", "Book room", "Plan demo", "Test form"]
CUSTOMERS = ["Aspen", "Bay", "Crest", "Delta", "Echo", "Frost", "Grove", "Heath"]

Call = tuple[str, dict[str, Any]]
"""Tool name and arguments."""
Errand = tuple[str, list[Call], list[Call]]
"""Request, the expert's lookups, and the changes."""
Family = Callable[[random.Random], Errand]


def generate(count: int, seed: int, difficulty: Difficulty | str = Difficulty.EASY) -> Iterator[Row]:
    """Rows in the layout of NeMo Gym's ``workplace_assistant``, for this office.

    See :func:`~gym_ray.environments.generate.distinct_rows`.
    """
    families = LEVELS[Difficulty(difficulty)]
    rows = distinct_rows("workplace", count, seed, difficulty, lambda rng: _row(rng, families))
    return (row | {"id": number} for number, row in enumerate(rows))


def solve(row: Row) -> list[Turn]:
    """The expert's turns: calls made together share a turn; the last turn is a message."""
    turns: list[Turn] = []
    for number, calls in enumerate(row["expert_turns"]):
        turns.append(
            [
                function_call(call["name"], call["arguments"], f"call_{number}_{position}")
                for position, call in enumerate(calls)
            ]
        )
    return [*turns, [assistant_message("Done.")]]


def _row(rng: random.Random, families: dict[str, tuple[Family, ...]]) -> Row:
    category = rng.choice(list(families))
    request, lookups, changes = rng.choice(families[category])(rng)
    turns = [calls for calls in (lookups, changes) if calls]
    return {
        "responses_create_params": prompt_params(request, SYSTEM),
        "ground_truth": [_call(call) for call in changes],
        "category": f"workplace_{category}",
        "environment_name": "workplace",
        "expert_turns": [[_call(call) for call in calls] for calls in turns],
    }


def _call(call: Call) -> dict[str, str]:
    name, arguments = call
    return {"name": name, "arguments": orjson.dumps(arguments).decode()}


def _pick(rng: random.Random, table: str) -> tuple[str, Record]:
    return rng.choice(list(base()[table].items()))


def _first_name(address: str | int) -> str:
    return str(address).split(".")[0].capitalize()


def _someone(rng: random.Random) -> tuple[str, str, Call]:
    """First name, address, and the look-up that leads from one to the other."""
    address = str(_pick(rng, "people")[1]["email"])
    return _first_name(address), address, ("find_person", {"name": _first_name(address)})


def _slot(rng: random.Random) -> str:
    return f"{_workday(rng)} {rng.randint(9, 16):02d}:{rng.choice((0, 30)):02d}"


def _workday(rng: random.Random) -> str:
    day = date.fromisoformat(NOW[:10]) + timedelta(days=rng.randint(1, 25))
    return str(day - timedelta(days=max(0, day.weekday() - 4)))


# Calendar


def _event(rng: random.Random) -> tuple[str, str, Call]:
    """How a request calls an event, its id, and the look-up."""
    key, event = _pick(rng, "events")
    name = _first_name(event["person"])
    return f"the {event['title']} with {name}", key, ("search_events", {"text": f"{event['title']} {name}"})


def cancel_event(rng: random.Random) -> Errand:
    phrase, key, lookup = _event(rng)
    return f"Cancel {phrase}.", [lookup], [("delete_event", {"id": key})]


def move_event(rng: random.Random) -> Errand:
    (phrase, key, lookup), start = _event(rng), _slot(rng)
    return f"Move {phrase} to {start}.", [lookup], [("update_event", {"id": key, "field": "start", "value": start})]


def resize_event(rng: random.Random) -> Errand:
    (phrase, key, lookup), minutes = _event(rng), rng.choice((15, 20, 40, 75, 120))
    change = ("update_event", {"id": key, "field": "minutes", "value": str(minutes)})
    return f"Make {phrase} {minutes} minutes long.", [lookup], [change]


def rename_event(rng: random.Random) -> Errand:
    (phrase, key, lookup), title = _event(rng), rng.choice(TITLES)
    change = ("update_event", {"id": key, "field": "title", "value": title})
    return f"Rename {phrase} to {title}.", [lookup], [change]


def book_event(rng: random.Random) -> Errand:
    (name, address, lookup), title, start, minutes = _someone(rng), rng.choice(TITLES), _slot(rng), rng.choice((30, 60))
    change = ("create_event", {"title": title, "person": address, "start": start, "minutes": minutes})
    return f"Book {title} with {name} on {start} for {minutes} minutes.", [lookup], [change]


def clear_person(rng: random.Random) -> Errand:
    person = _pick(rng, "events")[1]["person"]
    name = _first_name(person)
    changes = [("delete_event", {"id": key}) for key, event in base()["events"].items() if event["person"] == person]
    return f"Cancel all events with {name}.", [("search_events", {"text": name})], changes


# Mail


def write_email(rng: random.Random) -> Errand:
    (name, address, lookup), subject, body = _someone(rng), rng.choice(SUBJECTS), rng.choice(BODIES)
    change = ("send_email", {"to": address, "subject": subject, "body": body})
    return f"Email {name}. Subject: {subject}. Text: {body}", [lookup], [change]


def _email(rng: random.Random) -> tuple[str, str, Call]:
    key, email = _pick(rng, "emails")
    name, subject = _first_name(email["person"]), email["subject"]
    return f"{name}'s email about {subject}", key, ("search_emails", {"text": f"{subject} {name}"})


def answer_email(rng: random.Random) -> Errand:
    (phrase, key, lookup), body = _email(rng), rng.choice(BODIES)
    return f"Reply to {phrase}: {body}", [lookup], [("reply_email", {"id": key, "body": body})]


def pass_on_email(rng: random.Random) -> Errand:
    (phrase, key, lookup), (name, address, person) = _email(rng), _someone(rng)
    return f"Forward {phrase} to {name}.", [lookup, person], [("forward_email", {"id": key, "to": address})]


def drop_email(rng: random.Random) -> Errand:
    phrase, key, lookup = _email(rng)
    return f"Delete {phrase}.", [lookup], [("delete_email", {"id": key})]


# Projects


def _task(rng: random.Random) -> tuple[str, str, Call]:
    key, task = _pick(rng, "tasks")
    name = _first_name(task["owner"])
    return f"{name}'s task {task['title']}", key, ("search_tasks", {"text": f"{task['title']} {name}"})


def new_task(rng: random.Random) -> Errand:
    (name, address, lookup), title, due = _someone(rng), rng.choice(JOBS), _workday(rng)
    board = rng.choice(("web", "mobile", "backoffice"))
    change = ("create_task", {"title": title, "owner": address, "due": due, "board": board})
    return f"Create the task {title} for {name} on the {board} board, due {due}.", [lookup], [change]


def change_task(rng: random.Random) -> Errand:
    phrase, key, lookup = _task(rng)
    if rng.random() < 0.5:
        due = _workday(rng)
        return f"{phrase} is now due {due}.", [lookup], [("update_task", {"id": key, "field": "due", "value": due})]
    name, address, person = _someone(rng)
    change = ("update_task", {"id": key, "field": "owner", "value": address})
    return f"Give {phrase} to {name}.", [lookup, person], [change]


def finish_tasks(rng: random.Random) -> Errand:
    _, task = _pick(rng, "tasks")
    status, board = str(task["status"]), str(task["board"])
    target = rng.choice([other for other in ("todo", "doing", "review", "done") if other != status])
    keys = [key for key, other in base()["tasks"].items() if (other["status"], other["board"]) == (status, board)]
    changes = [("update_task", {"id": key, "field": "status", "value": target}) for key in keys]
    search = ("search_tasks", {"status": status, "board": board})
    return f"Set every task with status {status} on the {board} board to {target}.", [search], changes


# Customers


def new_customer(rng: random.Random) -> Errand:
    (name, address, lookup), company = _someone(rng), rng.choice(CUSTOMERS)
    email, product = f"info@{company.lower()}.example", rng.choice(("hardware", "software", "support", "training"))
    change = ("add_customer", {"name": company, "email": email, "product": product, "owner": address})
    return f"Add the customer {company} ({email}), interested in {product}, owned by {name}.", [lookup], [change]


def change_customer(rng: random.Random) -> Errand:
    key, customer = _pick(rng, "customers")
    status = rng.choice([other for other in ("lead", "qualified", "won", "lost") if other != customer["status"]])
    lookup = ("search_customers", {"text": str(customer["name"])})
    change = ("update_customer", {"id": key, "field": "status", "value": status})
    return f"Set the customer {customer['name']} to {status}.", [lookup], [change]


def hand_over_customers(rng: random.Random) -> Errand:
    _, customer = _pick(rng, "customers")
    owner, product = str(customer["owner"]), str(customer["product"])
    name, address, person = _someone(rng)
    while address == owner:
        name, address, person = _someone(rng)
    keys = [key for key, one in base()["customers"].items() if (one["owner"], one["product"]) == (owner, product)]
    search = ("search_customers", {"owner": owner, "product": product})
    changes = [("update_customer", {"id": key, "field": "owner", "value": address}) for key in keys]
    return f"{name} takes over all of {_first_name(owner)}'s {product} customers.", [person, search], changes


# Expenses


def new_expense(rng: random.Random) -> Errand:
    (name, address, lookup), amount = _someone(rng), rng.randint(5, 400)
    category, spent = rng.choice(("travel", "meals", "supplies", "software")), f"2026-02-{rng.randint(1, 28):02d}"
    change = ("file_expense", {"owner": address, "category": category, "amount": amount, "spent": spent})
    return f"File {amount} euros of {category} for {name}, spent on {spent}.", [lookup], [change]


def decide_expenses(rng: random.Random) -> Errand:
    known = rng.choice([one for one in base()["expenses"].values() if one["status"] == "filed"])
    category, limit = str(known["category"]), int(known["amount"]) + rng.randint(1, 200)
    verb, decision = rng.choice((("Approve", "approved"), ("Reject", "rejected")))
    keys = [
        key
        for key, one in base()["expenses"].items()
        if (one["status"], one["category"]) == ("filed", category) and int(one["amount"]) < limit
    ]
    search = ("search_expenses", {"status": "filed", "category": category})
    changes = [("decide_expense", {"id": key, "decision": decision}) for key in keys]
    return f"{verb} all filed {category} expenses below {limit} euros.", [search], changes


def both(rng: random.Random) -> Errand:
    """Two errands of the middle level in one request, about different tables."""
    first, second = rng.sample(sorted(LEVELS[Difficulty.MEDIUM]), 2)
    errands = [rng.choice(LEVELS[Difficulty.MEDIUM][category])(rng) for category in (first, second)]
    (one, lookups, changes), (other, more_lookups, more_changes) = errands
    unique = [lookup for position, lookup in enumerate(more_lookups) if lookup not in lookups[: position + 1]]
    return f"{one} Then: {other}", lookups + unique, changes + more_changes


LEVELS: dict[Difficulty, dict[str, tuple[Family, ...]]] = {
    Difficulty.EASY: {
        "calendar": (cancel_event, move_event, resize_event, rename_event, book_event),
        "email": (write_email,),
    },
    Difficulty.MEDIUM: {
        "calendar": (move_event, rename_event, book_event),
        "email": (answer_email, pass_on_email, drop_email),
        "projects": (new_task, change_task),
        "customers": (new_customer, change_customer),
        "expenses": (new_expense,),
    },
    Difficulty.HARD: {
        "calendar": (clear_person,),
        "projects": (finish_tasks,),
        "customers": (hand_over_customers,),
        "expenses": (decide_expenses,),
        "several": (both, both),
    },
}
"""Families of each level by category, which is drawn first."""
