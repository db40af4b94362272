"""Small Python packages with one mistake each, an issue that describes what goes wrong, and tests that show it."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass

from gym_ray.environments.generate import Difficulty, Row, Turn, distinct_rows, prompt_params
from gym_ray.types.items import assistant_message, function_call

FORMAT = "The repository is in the current folder. Repair it with the tools, then say in one sentence what was wrong."


@dataclass(frozen=True, slots=True)
class Bug:
    """One mistake: ``right`` became ``wrong`` in ``path``. ``issue``: what a user saw. ``test``: a method's body."""

    path: str
    right: str
    wrong: str
    issue: str
    test: str


@dataclass(frozen=True, slots=True)
class Package:
    """Files of a package, ``{name}`` standing for its name, and the mistakes that can be made in it."""

    files: dict[str, str]
    bugs: tuple[Bug, ...]


STOCK = Package(
    {
        "{name}/__init__.py": "from .stock import Stock\n",
        "{name}/stock.py": '''\
class Stock:
    """Counts of items by name."""

    def __init__(self):
        self.counts = {}

    def add(self, item, count=1):
        self.counts[item] = self.counts.get(item, 0) + count

    def remove(self, item, count=1):
        if self.counts.get(item, 0) < count:
            raise ValueError(f"not enough {item}")
        self.counts[item] -= count

    def total(self):
        return sum(self.counts.values())
''',
    },
    (
        Bug(
            "{name}/stock.py",
            "self.counts.get(item, 0) < count",
            "self.counts.get(item, 0) <= count",
            "Taking the last one of an item out of the stock raises ValueError although it is there.",
            "s = Stock(); s.add('nut', {n}); s.remove('nut', {n}); self.assertEqual(s.total(), 0)",
        ),
        Bug(
            "{name}/stock.py",
            "self.counts[item] = self.counts.get(item, 0) + count",
            "self.counts[item] = count",
            "Adding an item a second time forgets how many there were before.",
            "s = Stock(); s.add('nut', {n}); s.add('nut', 2); self.assertEqual(s.counts['nut'], {n} + 2)",
        ),
        Bug(
            "{name}/stock.py",
            "return sum(self.counts.values())",
            "return len(self.counts)",
            "total() gives the number of kinds of items instead of the number of items.",
            "s = Stock(); s.add('nut', {n}); s.add('bolt', 4); self.assertEqual(s.total(), {n} + 4)",
        ),
    ),
)
TEXT = Package(
    {
        "{name}/__init__.py": "from .words import longest, top, wrap\n",
        "{name}/words.py": '''\
def longest(text):
    """The longest word; the first of several."""
    return max(text.split(), key=len, default="")


def top(text, count):
    """The most frequent words, most frequent first, ties in alphabetical order."""
    words = text.lower().split()
    return sorted(set(words), key=lambda word: (-words.count(word), word))[:count]


def wrap(text, width):
    """Lines of at most `width` characters."""
    lines = [""]
    for word in text.split():
        joined = f"{lines[-1]} {word}".strip()
        if len(joined) <= width:
            lines[-1] = joined
        else:
            lines.append(word)
    return lines
''',
    },
    (
        Bug(
            "{name}/words.py",
            "(-words.count(word), word)",
            "words.count(word)",
            "top() starts with the rarest words.",
            "self.assertEqual(top('b a b ' + 'c ' * {n}, 2), ['c', 'b'])",
        ),
        Bug(
            "{name}/words.py",
            "len(joined) <= width",
            "len(joined) < width",
            "wrap() begins a new line although the word would just have fitted.",
            "self.assertEqual(wrap('x' * {n} + ' yy', {n} + 3), ['x' * {n} + ' yy'])",
        ),
        Bug(
            "{name}/words.py",
            'key=len, default=""',
            "key=len",
            "longest() raises ValueError for an empty text; it should give an empty one.",
            "self.assertEqual(longest(' ' * {n}), '')",
        ),
    ),
)
CLOCK = Package(
    {
        "{name}/__init__.py": "from .convert import parse, show\nfrom .spans import overlap\n",
        "{name}/convert.py": '''\
def parse(text):
    """Minutes since midnight from `hh:mm`."""
    hours, minutes = text.split(":")
    return int(hours) * 60 + int(minutes)


def show(minutes):
    """`hh:mm` from minutes since midnight; the next day begins at 00:00 again."""
    minutes %= 24 * 60
    return f"{minutes // 60:02d}:{minutes % 60:02d}"
''',
        "{name}/spans.py": '''\
from .convert import parse


def overlap(first, second):
    """Minutes that two spans like ("09:00", "10:30") share."""
    begin = max(parse(first[0]), parse(second[0]))
    end = min(parse(first[1]), parse(second[1]))
    return max(0, end - begin)
''',
    },
    (
        Bug(
            "{name}/spans.py",
            "return max(0, end - begin)",
            "return end - begin",
            "overlap() of two spans that do not touch is negative.",
            "self.assertEqual(overlap(('08:00', '08:{n:02d}'), ('10:00', '11:00')), 0)",
        ),
        Bug(
            "{name}/convert.py",
            "minutes %= 24 * 60",
            "minutes = max(0, minutes)",
            "show() of times after midnight prints hours above 23.",
            "self.assertEqual(show(24 * 60 + {n}), '00:{n:02d}')",
        ),
        Bug(
            "{name}/convert.py",
            "int(hours) * 60 + int(minutes)",
            "int(hours) * 100 + int(minutes)",
            "overlap() counts far too many minutes when the spans are hours long.",
            "self.assertEqual(overlap(('08:00', '11:{n:02d}'), ('09:00', '12:00')), 120 + {n})",
        ),
    ),
)
TEST = """\
import unittest

from {name} import *


class Hidden(unittest.TestCase):
    def test(self):
        {body}
"""
PACKAGES = {Difficulty.EASY: (STOCK,), Difficulty.MEDIUM: (TEXT,), Difficulty.HARD: (CLOCK,)}
NAMES = ("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "hazel", "islet", "jetty", "knoll", "larch")


def generate(count: int, seed: int, difficulty: Difficulty | str = Difficulty.EASY) -> Iterator[Row]:
    """See :func:`~gym_ray.environments.generate.distinct_rows`."""
    packages = PACKAGES[Difficulty(difficulty)]
    return distinct_rows("swe", count, seed, difficulty, lambda rng: _row(rng, rng.choice(packages)))


def solve(row: Row) -> list[Turn]:
    """Two turns: an edit that takes the mistake back, and the answer."""
    arguments = json.dumps(row["expert_edit"])
    return [[function_call("edit", arguments, "call_0")], [assistant_message("Repaired.")]]


def _row(rng: random.Random, package: Package) -> Row:
    name, number, bug = f"{rng.choice(NAMES)}{rng.randint(1, 999)}", rng.randint(5, 50), rng.choice(package.bugs)
    files = {path.replace("{name}", name): text for path, text in package.files.items()}
    path = bug.path.replace("{name}", name)
    assert files[path].count(bug.right) == 1
    files[path] = files[path].replace(bug.right, bug.wrong)
    body = bug.test.replace("{n:02d}", f"{number:02d}").replace("{n}", str(number))
    test = TEST.replace("{name}", name).replace("{body}", body)
    prompt = f"{bug.issue}\nPackage: {name}\n{FORMAT}"
    return {
        "responses_create_params": prompt_params(prompt),
        "repository": files,
        "hidden_tests": {f"tests/test_{name}.py": test},
        "expert_edit": {"path": path, "old": bug.wrong, "new": bug.right},
    }
