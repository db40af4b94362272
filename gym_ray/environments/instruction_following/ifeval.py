"""The 25 kinds of IFEval (Zhou et al. 2023, arXiv 2311.07911), by the definitions in google-research's
``instruction_following_eval``."""

from __future__ import annotations

import json
import re
from functools import lru_cache

from gym_ray.environments.instruction_following.kinds import Relation, Word, kind
from gym_ray.environments.instruction_following.languages import language_of
from gym_ray.environments.instruction_following.text import (
    compare,
    count_words,
    divided,
    sentences,
    tokens,
)

OPTIONS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
"""What ``constrained_response`` allows."""
_FENCE = re.compile(r"```(?:json)?", re.IGNORECASE)
_HIGHLIGHT = re.compile(r"\*[^\n*]*\*")
_DOUBLE_HIGHLIGHT = re.compile(r"\*\*[^\n*]*\*\*")


@lru_cache(maxsize=4096)
def whole_word(word: str) -> re.Pattern[str]:
    """A pattern for the word, any case, nothing of a word beside it."""
    return re.compile(rf"\b{re.escape(word)}\b", re.IGNORECASE)


def occurrences(text: str, word: str) -> int:
    """How often the word occurs, any case, also within others."""
    return text.lower().count(word.strip().lower())


@kind("keywords:existence")
def keywords(text: str, *, keywords: list[str]) -> bool:
    return all(occurrences(text, keyword) for keyword in keywords)


@kind("keywords:frequency", "keywords:word_count_different_numbers")
def keyword_frequency(text: str, *, keyword: Word, frequency: int, relation: Relation) -> bool:
    return compare(occurrences(text, keyword), relation, frequency)


@kind("keywords:forbidden_words")
def forbidden_words(text: str, *, forbidden_words: list[str]) -> bool:
    return not any(whole_word(word).search(text) for word in forbidden_words)


@kind("keywords:letter_frequency", "letters:letter_counting2")
def letter_frequency(text: str, *, letter: str, let_frequency: int, let_relation: Relation) -> bool:
    return compare(text.lower().count(letter.strip().lower()), let_relation, let_frequency)


@kind("language:response_language")
def response_language(text: str, *, language: str) -> bool:
    return language_of(text) == language.partition("-")[0]


@kind("length_constraints:number_sentences")
def number_sentences(text: str, *, num_sentences: int, relation: Relation) -> bool:
    return compare(len(sentences(text)), relation, num_sentences)


@kind("length_constraints:number_paragraphs")
def number_paragraphs(text: str, *, num_paragraphs: int) -> bool:
    parts = divided(text)
    return parts is not None and len(parts) == num_paragraphs


@kind("length_constraints:number_words")
def number_words(text: str, *, num_words: int, relation: Relation) -> bool:
    return compare(count_words(text), relation, num_words)


@kind("length_constraints:nth_paragraph_first_word")
def nth_paragraph_first_word(text: str, *, num_paragraphs: int, nth_paragraph: int, first_word: str) -> bool:
    parts = text.split("\n\n")
    if sum(bool(part.strip()) for part in parts) != num_paragraphs or not 0 < nth_paragraph <= num_paragraphs:
        return False
    words = parts[nth_paragraph - 1].split()
    word = re.split(r"[.,?!'\"]", words[0].lstrip("'\""))[0] if words else ""
    return bool(word) and word.lower() == first_word.strip().lower()


@kind("detectable_content:number_placeholders")
def number_placeholders(text: str, *, num_placeholders: int) -> bool:
    return sum(map(_placeholders, text.splitlines())) >= num_placeholders


def _placeholders(line: str) -> int:
    count, start = 0, line.find("[")
    while start >= 0 and (end := line.find("]", start)) > 0:
        count, start = count + 1, line.find("[", end)
    return count


@kind("detectable_content:postscript")
def postscript(text: str, *, postscript_marker: str) -> bool:
    marker = postscript_marker.strip()
    pattern = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}.get(marker, re.escape(marker.lower()))
    return re.search(pattern, text.lower()) is not None


@kind("detectable_format:number_bullet_lists")
def number_bullet_lists(text: str, *, num_bullets: int) -> bool:
    return sum(map(is_bullet, text.splitlines())) == num_bullets


def is_bullet(line: str) -> bool:
    """A line that begins with ``-``, or with one ``*`` and something after it."""
    line = line.lstrip()
    return line.startswith("-") or (line.startswith("*") and line[1:2] not in ("", "*"))


@kind("detectable_format:constrained_response")
def constrained_response(text: str) -> bool:
    return any(option in text for option in OPTIONS)


@kind("detectable_format:number_highlighted_sections")
def number_highlighted_sections(text: str, *, num_highlights: int) -> bool:
    single = sum(bool(found.strip("*").strip()) for found in _HIGHLIGHT.findall(text))
    double = sum(bool(found[2:-2].strip()) for found in _DOUBLE_HIGHLIGHT.findall(text))
    return single + double >= num_highlights


@kind("detectable_format:multiple_sections")
def multiple_sections(text: str, *, section_spliter: str, num_sections: int) -> bool:
    return len(re.findall(rf"{re.escape(section_spliter.strip())}\s?\d", text)) >= num_sections


@kind("detectable_format:json_format")
def json_format(text: str) -> bool:
    text = text.strip()
    if opening := _FENCE.match(text):
        text = text[opening.end() :]
    try:
        json.loads(text.removesuffix("```").strip())
    except (ValueError, RecursionError):
        return False
    return True


@kind("detectable_format:title")
def title(text: str) -> bool:
    spans = ((line.find("<<"), line.rfind(">>"), line) for line in text.splitlines())
    return any(0 <= start < end and bool(line[start:end].strip("<> \t")) for start, end, line in spans)


@kind("combination:two_responses")
def two_responses(text: str) -> bool:
    parts = text.split("******")
    if any(not part.strip() for part in parts[1:-1]):
        return False
    answers = [part.strip() for part in parts if part.strip()]
    return len(answers) == 2 and answers[0] != answers[1]


@kind("combination:repeat_prompt")
def repeat_prompt(text: str, *, prompt_to_repeat: str) -> bool:
    return text.strip().lower().startswith(prompt_to_repeat.strip().lower())


@kind("startend:end_checker")
def end_checker(text: str, *, end_phrase: str) -> bool:
    return text.strip().strip('"').lower().endswith(end_phrase.strip().lower())


@kind("startend:quotation")
def quotation(text: str) -> bool:
    text = text.strip()
    return len(text) > 1 and text[0] == text[-1] == '"'


@kind("change_case:capital_word_frequency")
def capital_word_frequency(text: str, *, capital_frequency: int, capital_relation: Relation) -> bool:
    return compare(sum(token.isupper() for token in tokens(text)), capital_relation, capital_frequency)


@kind("change_case:english_capital")
def english_capital(text: str) -> bool:
    return text.isupper() and language_of(text) == "en"


@kind("change_case:english_lowercase")
def english_lowercase(text: str) -> bool:
    return text.islower() and language_of(text) == "en"


@kind("punctuation:no_comma")
def no_comma(text: str) -> bool:
    return "," not in text
