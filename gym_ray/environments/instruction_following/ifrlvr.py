"""The 29 kinds that IF-RLVR training adds (Pyatkin et al. 2025, arXiv 2507.02833), by the definitions in
``verifiable-instructions`` and ``open-instruct``'s IFEvalG, whose names they keep."""

from __future__ import annotations

import re
from itertools import pairwise

from gym_ray.environments.instruction_following.ifeval import occurrences
from gym_ray.environments.instruction_following.kinds import Relation, Word, kind
from gym_ray.environments.instruction_following.text import (
    blocks,
    compare,
    divided,
    sentences,
    tokens,
)

_LOWER_CASE_WORD = re.compile(r"\b[a-z]+\b")
_LETTER = re.compile(r"[a-zA-Z]")
_NO_WORD = re.compile(r"[^\w\s]")
MAX_PHRASE_CHARS = 300
"""Characters between the first and the last word of a repeated phrase."""


@kind("copy:copy", "copy:copying_simple")
def copy(text: str, *, prompt_to_repeat: str) -> bool:
    return text.strip().lower() == prompt_to_repeat.strip().lower()


@kind("copy:copying_multiple")
def copying_multiple(text: str, *, prompt_to_repeat: str, N: int) -> bool:
    parts = text.split("******")
    return len(parts) == N and all(copy(part, prompt_to_repeat=prompt_to_repeat) for part in parts)


@kind("new:copy_span_idx")
def copy_span(text: str, *, prompt_to_repeat: str, n_start: int, n_end: int) -> bool:
    return copy(text, prompt_to_repeat=prompt_to_repeat[n_start:n_end])


@kind("copy:repeat_phrase")
def repeat_phrase(text: str, *, phrase: str, small_n: int) -> bool:
    wanted = phrase.split()
    if len(wanted) < 3:
        return False
    between = rf" (?:[^\n]{{0,{MAX_PHRASE_CHARS}}}? )?"
    found = re.findall(re.escape(wanted[0]) + between + re.escape(wanted[-1]), text)
    return len(found) == small_n and all(_changed_words(wanted, one.split()) == 1 for one in found)


def _changed_words(wanted: list[str], words: list[str]) -> int | None:
    if len(words) != len(wanted):
        return None
    return sum(left != right for left, right in zip(wanted, words, strict=True))


@kind("detectable_format:sentence_hyphens")
def sentence_hyphens(text: str) -> bool:
    parts = text.split("-")
    ended = all(part.endswith((".", "!", "?")) for part in parts[:-1])
    return ended and all(part == part.strip() and sentences(part) == [part] for part in parts)


@kind("detectable_format:square_brackets")
def square_brackets(text: str) -> bool:
    return all(word.startswith("[") and word.endswith("]") for word in text.split())


@kind("detectable_format:bigram_wrapping")
def bigram_wrapping(text: str) -> bool:
    words = text.split()
    pairs = zip(words[::2], words[1::2], strict=False)
    return all(first.startswith("<<") and second.endswith(">>") for first, second in pairs)


@kind("keywords:no_adjacent_consecutive")
def no_adjacent_consecutive(text: str) -> bool:
    pairs = pairwise(text.lower().split())
    return not any(ord(right[0]) - ord(left[0]) == 1 for left, right in pairs)


@kind("keywords:word_once")
def word_once(text: str, *, keyword: Word) -> bool:
    return occurrences(text, keyword) == 1


@kind("keywords:exclude_word_harder")
def exclude_word(text: str, *, keyword: Word) -> bool:
    return f" {keyword.strip()} " not in text


@kind("keywords:palindrome")
def palindrome(text: str) -> bool:
    return any(word == word[::-1] for word in text.split())


@kind("keywords:keyword_specific_position")
def keyword_position(text: str, *, keyword: Word, n: int, m: int) -> bool:
    found = sentences(text)
    if not 0 < n <= len(found):
        return False
    words = tokens(found[n - 1])
    return 0 < m <= len(words) and words[m - 1] == keyword.strip()


@kind("keywords:start_end")
def start_end(text: str) -> bool:
    words = tokens(text)
    return len(words) > 1 and words[0].lower() == words[-1].lower()


@kind("paragraphs:paragraphs")
def two_divided_paragraphs(text: str) -> bool:
    parts = divided(text)
    return parts is not None and len(parts) == 2


@kind("paragraphs:paragraphs2")
def two_paragraphs(text: str) -> bool:
    parts = blocks(text)
    return parts is not None and len(parts) == 2


@kind("first_word:first_word_sent")
def first_word_of_sentences(text: str, *, first_word: Word) -> bool:
    return all(sentence.split()[0].lower() == first_word.strip().lower() for sentence in sentences(text))


@kind("first_word:first_word_answer")
def first_word_of_answer(text: str, *, first_word: Word) -> bool:
    return text.split()[:1] != [] and text.split()[0].lower() == first_word.strip().lower()


@kind("last_word:last_word_sent")
def last_word_of_sentences(text: str, *, last_word: Word) -> bool:
    return all(_last_word(sentence) == last_word.strip().lower() for sentence in sentences(text))


@kind("last_word:last_word_answer")
def last_word_of_answer(text: str, *, last_word: Word) -> bool:
    return _last_word(text) == last_word.strip().lower()


def _last_word(text: str) -> str:
    words = text.split()
    return _NO_WORD.sub("", words[-1]).lower() if words else ""


@kind("punctuation:punctuation_dot")
def no_dot(text: str) -> bool:
    return "." not in text


@kind("punctuation:punctuation_exclamation")
def no_exclamation(text: str) -> bool:
    return "!" not in text


@kind("count:lowercase_counting")
def lowercase_words(text: str, *, N: int) -> bool:
    return sum(1 for _ in _LOWER_CASE_WORD.finditer(text)) <= N


@kind("letters:letter_counting")
def letters(text: str, *, N: int, relation: Relation) -> bool:
    return compare(sum(1 for _ in _LETTER.finditer(text)), relation, N)


@kind("count:counting_composition")
def counting_composition(text: str, *, n_sent: int, n_words: int) -> bool:
    parts = divided(text)
    if parts is None or len(parts) != 3:
        return False
    split = [sentences(part) for part in parts]
    return all(len(part) == n_sent and all(len(tokens(one)) == n_words for one in part) for part in split)


@kind("count:count_unique")
def unique_words(text: str) -> bool:
    words = tokens(text)
    return len(words) == len(set(words))


@kind("count:count_increment_word")
def increment_word(text: str, *, keyword1: Word, keyword2: Word) -> bool:
    return occurrences(text, keyword1) == 1 and occurrences(text, keyword2) == 2
