"""Instruction-following tasks: one instruction about a short text, two, or four at once.

Instructions come in groups (how it begins, ends, its case, its length, what is in it, its layout); a row takes at most
one of a group, so all can be followed together.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from gym_ray.environments.generate import Difficulty, Row, Turn, distinct_rows, prompt_params
from gym_ray.types.items import assistant_message

TOPICS = ["gardens", "trains", "winter", "bread", "music", "rivers", "cats", "maps", "tea", "bridges", "stars", "shoes"]
TOPICS += ["clouds", "markets", "birds", "paper", "lamps", "islands", "soup", "chess", "kites", "doors", "wool", "salt"]
WORDS = ["amber", "basket", "circle", "dancer", "empty", "feather", "golden", "harbor", "ivory", "jacket", "kitten"]
WORDS += ["lantern", "meadow", "nectar", "olive", "pocket", "quiet", "ribbon", "silver", "timber", "velvet", "willow"]
NAMES = ["Ana", "Ben", "Cleo", "Dan", "Eve", "Finn", "Gus", "Hana", "Ivo", "June", "Kim", "Leo", "Mia", "Ned", "Oda"]
FILLERS = ["very", "really", "quite", "maybe", "thing", "stuff", "great", "just", "truly", "simply", "always", "never"]
ENDINGS = ["That is all.", "Good luck to you!", "Ask me again.", "This is the end.", "Have a nice day!"]

Arguments = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Family:
    """One kind of instruction. ``draw`` gives its arguments and its words; ``write`` makes a text follow it."""

    name: str
    draw: Callable[[random.Random], tuple[Arguments, str]]
    write: Callable[[str, Arguments], str]


def generate(count: int, seed: int, difficulty: Difficulty | str = Difficulty.EASY) -> Iterator[Row]:
    """Rows in NeMo Gym's ``instruction_following`` layout.

    See :func:`~gym_ray.environments.generate.distinct_rows`.
    """
    many = {Difficulty.EASY: 1, Difficulty.MEDIUM: 2, Difficulty.HARD: 4}[Difficulty(difficulty)]
    rows = distinct_rows("instruction_following", count, seed, difficulty, lambda rng: _row(rng, many))
    return (row | {"id": number} for number, row in enumerate(rows))


def solve(row: Row) -> list[Turn]:
    """One turn: a plain text, changed for one instruction after the other."""
    text = "This is a short text and it is for you."
    given = dict(zip(row["instruction_id_list"], row["kwargs"], strict=True))
    for family in (family for group in GROUPS for family in group):
        if family.name in given:
            text = family.write(text, given[family.name])
    return [[assistant_message(text)]]


def _row(rng: random.Random, many: int) -> Row:
    families = [rng.choice(group) for group in rng.sample(GROUPS, many)]
    drawn = [family.draw(rng) for family in families]
    prompt = " ".join([f"Write a short text about {rng.choice(TOPICS)}.", *(words for _, words in drawn)])
    return {
        "responses_create_params": prompt_params(prompt),
        "prompt": prompt,
        "instruction_id_list": [family.name for family in families],
        "kwargs": [arguments for arguments, _ in drawn],
        "grading_mode": "binary",
    }


# In it


def _keywords(rng: random.Random) -> tuple[Arguments, str]:
    words = rng.sample(WORDS, 2)
    return {"keywords": words}, f"Use the words {words[0]} and {words[1]}."


def _frequency(rng: random.Random) -> tuple[Arguments, str]:
    word, times = rng.choice(WORDS), rng.randint(2, 4)
    words = f"Use the word {word} at least {times} times."
    return {"keyword": word, "frequency": times, "relation": "at least"}, words


def _forbidden(rng: random.Random) -> tuple[Arguments, str]:
    words = rng.sample(FILLERS, 3)
    return {"forbidden_words": words}, f"Leave out the words {', '.join(words)}."


def _placeholders(rng: random.Random) -> tuple[Arguments, str]:
    count = rng.randint(1, 4)
    return {"num_placeholders": count}, f"Use at least {count} placeholders in square brackets, such as [name]."


def _no_comma(rng: random.Random) -> tuple[Arguments, str]:
    return {}, f"Use no commas. Mention {rng.choice(NAMES)}."


CONTENT = (
    Family("keywords:existence", _keywords, lambda text, given: f"{text} {' '.join(given['keywords'])}."),
    Family("keywords:frequency", _frequency, lambda text, given: text + f" {given['keyword']}." * given["frequency"]),
    Family("keywords:forbidden_words", _forbidden, lambda text, given: text),
    Family(
        "detectable_content:number_placeholders",
        _placeholders,
        lambda text, given: text + " [name]." * given["num_placeholders"],
    ),
    Family("punctuation:no_comma", _no_comma, lambda text, given: text),
)


# Its length


def _least_words(rng: random.Random) -> tuple[Arguments, str]:
    count = rng.randint(10, 60)
    return {"num_words": count, "relation": "at least"}, f"Use at least {count} words."


def _sentences(rng: random.Random) -> tuple[Arguments, str]:
    count = rng.randint(2, 9)
    return {"num_sentences": count, "relation": "at least"}, f"Write at least {count} sentences."


def _paragraphs(rng: random.Random) -> tuple[Arguments, str]:
    count = rng.randint(2, 5)
    return {"num_paragraphs": count}, f"Write {count} paragraphs with the divider *** between them."


LENGTH = (
    Family(
        "length_constraints:number_words", _least_words, lambda text, given: text + " It is so." * given["num_words"]
    ),
    Family(
        "length_constraints:number_sentences", _sentences, lambda text, given: text + " So." * given["num_sentences"]
    ),
    Family(
        "length_constraints:number_paragraphs",
        _paragraphs,
        lambda text, given: text + "\n***\nIt is so." * (given["num_paragraphs"] - 1),
    ),
)


# Its layout


def _bullets(rng: random.Random) -> tuple[Arguments, str]:
    count = rng.randint(1, 6)
    return {"num_bullets": count}, f"Have exactly {count} bullet points such as `* a point`."


def _highlights(rng: random.Random) -> tuple[Arguments, str]:
    count = rng.randint(1, 5)
    return {"num_highlights": count}, f"Highlight at least {count} parts, like *this*."


LAYOUT = (
    Family(
        "detectable_format:number_bullet_lists",
        _bullets,
        lambda text, given: text + "\n* It is so." * given["num_bullets"] + "\n",
    ),
    Family(
        "detectable_format:number_highlighted_sections",
        _highlights,
        lambda text, given: text + " It is *so*." * given["num_highlights"],
    ),
)


# Its end


def _ending(rng: random.Random) -> tuple[Arguments, str]:
    phrase = rng.choice(ENDINGS)
    return {"end_phrase": phrase}, f"Finish with this exact phrase: {phrase}"


def _last_word(rng: random.Random) -> tuple[Arguments, str]:
    word = rng.choice(WORDS)
    return {"last_word": word}, f"The last word must be {word}."


def _postscript(rng: random.Random) -> tuple[Arguments, str]:
    marker = rng.choice(["P.S.", "P.P.S"])
    return {"postscript_marker": marker}, f"Add a postscript that starts with {marker}"


END = (
    Family("startend:end_checker", _ending, lambda text, given: f"{text} {given['end_phrase']}"),
    Family("last_word:last_word_answer", _last_word, lambda text, given: f"{text} {given['last_word']}"),
    Family(
        "detectable_content:postscript", _postscript, lambda text, given: f"{text}\n{given['postscript_marker']} Bye."
    ),
)


# Its beginning


def _first_word(rng: random.Random) -> tuple[Arguments, str]:
    word = rng.choice(WORDS)
    return {"first_word": word}, f"The first word must be {word}."


def _title(rng: random.Random) -> tuple[Arguments, str]:
    return {}, f"Give it a title in double angular brackets, such as <<the {rng.choice(WORDS)}>>."


def _quotation(rng: random.Random) -> tuple[Arguments, str]:
    return {}, f"Put all of it between double quotation marks. It is for {rng.choice(NAMES)}."


BEGINNING = (
    Family("first_word:first_word_answer", _first_word, lambda text, given: f"{given['first_word']} {text}"),
    Family("detectable_format:title", _title, lambda text, given: f"<<It is so>>\n{text}"),
    Family("startend:quotation", _quotation, lambda text, given: f'"{text}"'),
)


# Its case


def _lower(rng: random.Random) -> tuple[Arguments, str]:
    return {}, f"Answer in English, in lower case only. It is for {rng.choice(NAMES)}."


def _upper(rng: random.Random) -> tuple[Arguments, str]:
    return {}, f"Answer in English, in capital letters only. It is for {rng.choice(NAMES)}."


CASE = (
    Family("change_case:english_lowercase", _lower, lambda text, given: text.lower()),
    Family("change_case:english_capital", _upper, lambda text, given: text.upper()),
)

GROUPS: tuple[tuple[Family, ...], ...] = (CONTENT, LENGTH, LAYOUT, END, BEGINNING, CASE)
"""In the order in which :func:`solve` applies them."""
