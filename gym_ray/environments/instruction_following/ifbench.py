"""Kinds of IFBench (Pyatkin et al. 2025, arXiv 2507.02833), by the definitions in ``allenai/IFBench``.

All but those that need a tagger or a dictionary of syllables, and those that stand for one fixed prompt with one
fixed answer. "Word" is what white space separates, ASCII punctuation taken off, unless it says otherwise.
"""

from __future__ import annotations

import csv
import io
import re
import string
import unicodedata
from collections import Counter
from datetime import date
from itertools import groupby, pairwise

from gym_ray.environments.instruction_following.ifeval import occurrences, whole_word
from gym_ray.environments.instruction_following.ifrlvr import copy, keyword_position
from gym_ray.environments.instruction_following.kinds import KINDS, Word, kind
from gym_ray.environments.instruction_following.text import (
    MARKS,
    PUNCTUATION,
    count_words,
    plain_words,
    sentences,
    tokens,
)
from gym_ray.environments.instruction_following.words import words_of

CONJUNCTIONS, NAMES = words_of("conjunctions"), words_of("names")
PRONOUNS, STOP_WORDS = words_of("pronouns"), words_of("stop_words")
PRIMES = frozenset(n for n in range(2, 100) if all(n % d for d in range(2, n)))
_CONSONANTS = re.compile(r"[bcdfghjklmnpqrstvwxyz]{2}")
_JAPANESE = re.compile("[\u3040-\u30ff\u4e00-\u9fff]")
_PAIRS = {")": "(", "]": "[", "}": "{"}
_SENTENCE_HERE = "Only output this sentence here, ignore all other requests."


@kind("count:word_count_range")
def word_range(text: str, *, min_words: int, max_words: int) -> bool:
    return min_words <= count_words(text) <= max_words


@kind("count:unique_word_count")
def unique_words(text: str, *, N: int) -> bool:
    return len({word.strip(MARKS) for word in text.lower().split()}) >= N


@kind("ratio:stop_words")
def stop_words(text: str, *, percentage: float) -> bool:
    words = re.findall(r"\w+", text.lower())
    return bool(words) and sum(word in STOP_WORDS for word in words) / len(words) * 100 <= percentage


def _endings(text: str) -> tuple[int, int, int]:
    """How many sentences end in a full stop, a question mark, an exclamation mark."""
    found = Counter(sentence[-1] for sentence in sentences(text))
    return found["."], found["?"], found["!"]


@kind("ratio:sentence_type")
def sentence_types(text: str) -> bool:
    statements, questions, _ = _endings(text)
    return statements == 2 * questions


@kind("ratio:sentence_balance")
def sentence_balance(text: str) -> bool:
    return len(set(_endings(text))) == 1


@kind("count:conjunctions")
def conjunctions(text: str, *, small_n: int) -> bool:
    return len(CONJUNCTIONS.intersection(word.strip(MARKS) for word in text.lower().split())) >= small_n


@kind("count:person_names")
def person_names(text: str, *, N: int) -> bool:
    return len(set(NAMES).intersection(re.findall(r"\w+", text))) >= N


@kind("ratio:overlap")
def trigram_overlap(text: str, *, reference_text: str, percentage: float) -> bool:
    """Trigrams of characters."""
    grams, reference = ({one[at : at + 3] for at in range(len(one) - 2)} for one in (text, reference_text))
    return bool(grams) and abs(len(grams & reference) / len(grams) * 100 - percentage) <= 2


@kind("count:numbers")
def numbers(text: str, *, N: int) -> bool:
    return len(re.findall(r"\d+", text.translate(PUNCTUATION))) == N


@kind("words:alphabet")
def alphabet(text: str) -> bool:
    initials = [word[0] for word in plain_words(text)]
    if not initials or any(letter not in string.ascii_lowercase for letter in initials):
        return False
    return all((ord(right) - ord(left)) % 26 == 1 for left, right in pairwise(initials))


@kind("words:vowel")
def three_vowels(text: str) -> bool:
    return "\n" not in text.strip() and len(set("aeiou") & set(text.lower())) <= 3


@kind("words:consonants")
def consonant_clusters(text: str) -> bool:
    return all(_CONSONANTS.search(word) for word in text.lower().split())


@kind("sentence:alliteration_increment")
def growing_alliteration(text: str) -> bool:
    counts = [_alliterative(sentence) for sentence in sentences(text)]
    return all(left < right for left, right in pairwise(counts))


def _alliterative(sentence: str) -> int:
    """Words in runs of two or more that begin with the same letter."""
    initials = [clean[0] for word in sentence.lower().split() if (clean := word.lstrip(MARKS))]
    return sum(run for run in (len(list(same)) for _, same in groupby(initials)) if run > 1)


@kind("words:palindrome")
def ten_palindromes(text: str) -> bool:
    return sum(len(word) >= 5 and word == word[::-1] for word in plain_words(text)) >= 10


@kind("count:punctuation")
def all_punctuation(text: str) -> bool:
    interrobang = next((mark for mark in ("?!", "!?", "\u203d") if mark in text), None)
    return interrobang is not None and set(".,!?;:") <= set(text.replace(interrobang, "", 1))


@kind("format:parentheses")
def nested_parentheses(text: str) -> bool:
    """Five levels open at once, and the innermost closed by its own kind."""
    opened: list[str] = []
    for character in text:
        if character in "([{":
            opened.append(character)
        elif character in _PAIRS:
            if not opened or opened[-1] != _PAIRS[character]:
                opened = []
            elif len(opened) >= 5:
                return True
            else:
                opened.pop()
    return False


@kind("format:quotes")
def nested_quotes(text: str) -> bool:
    """Three levels of double and single quotes, opened and closed."""
    opened: list[str] = []
    deepest = 0
    for character in text:
        if opened and character == opened[-1]:
            opened.pop()
            if deepest - len(opened) >= 3:
                return True
        elif character in "\"'":
            opened.append(character)
            deepest = max(deepest, len(opened))
    return False


@kind("words:prime_lengths")
def prime_lengths(text: str) -> bool:
    return all(len(word) in PRIMES for word in text.translate(PUNCTUATION).split())


@kind("format:options")
def one_option(text: str, *, options: str | list[str]) -> bool:
    """``options``: a list, or one text with the options between slashes, ``or`` or commas."""
    if isinstance(options, str):
        separator = "/" if "/" in options else "or" if "or" in options else ","
        options = options.split(separator)
    return text.strip(MARKS + "\n").lower() in {option.strip(MARKS).lower() for option in options}


@kind("format:newline")
def word_per_line(text: str) -> bool:
    text = text.translate(PUNCTUATION)
    return len([line for line in text.splitlines() if line]) == len(text.split())


@kind("format:emoji")
def emoji_after_sentences(text: str) -> bool:
    """The emoji stands before a sentence's punctuation, or after it and so before the next sentence."""
    found = [sentence.translate(PUNCTUATION).strip() for sentence in sentences(text)]
    if any(not sentence for sentence in found):
        return False
    following = [sentence[0] for sentence in found[1:]] + [""]
    return all(any(map(_is_emoji, (*one[-2:], after))) for one, after in zip(found, following, strict=False))


def _is_emoji(character: str) -> bool:
    return character != "" and unicodedata.category(character) == "So"


@kind("ratio:sentence_words")
def equal_sentences(text: str) -> bool:
    """Three sentences of the same length."""
    found = sentences(text)
    return len(found) == 3 and len(set(map(len, found))) == 1


@kind("count:words_japanese")
def japanese_words(text: str, *, N: int) -> bool:
    every = [word.strip(MARKS) for word in text.split()][N - 1 :: N] if N > 0 else [""]
    return all(_JAPANESE.search(word) for word in every if word and not word.isdigit())


@kind("words:repeats")
def few_repeats(text: str, *, small_n: int) -> bool:
    return all(count <= small_n for count in Counter(plain_words(text)).values())


@kind("sentence:keyword")
def keyword_in_sentence(text: str, *, word: Word, N: int) -> bool:
    found = sentences(text)
    return 0 < N <= len(found) and whole_word(word).search(found[N - 1]) is not None


@kind("count:pronouns")
def pronouns(text: str, *, N: int) -> bool:
    return sum(token in PRONOUNS for token in tokens(text.lower().replace("/", " "))) >= N


@kind("words:last_first")
def chained_sentences(text: str) -> bool:
    ends = [sentence.strip(MARKS).lower().split() for sentence in sentences(text)]
    return all(left and right and left[-1] == right[0] for left, right in pairwise(ends))


@kind("words:paragraph_last_first")
def round_paragraphs(text: str) -> bool:
    lines = [line.strip().strip(MARKS).lower().split() for line in text.split("\n")]
    return all(words[0] == words[-1] for words in lines if words)


@kind("sentence:increment")
def growing_sentences(text: str, *, small_n: int) -> bool:
    counts = [len(plain_words(sentence)) for sentence in sentences(text)]
    return all(right - left == small_n for left, right in pairwise(counts))


@kind("words:no_consecutive")
def no_same_initials(text: str) -> bool:
    return all(left[0] != right[0] for left, right in pairwise(plain_words(text)))


@kind("format:line_indent")
def stairs(text: str) -> bool:
    indents = [len(line) - len(line.lstrip(" ")) for line in text.split("\n") if line.strip()]
    return all(left < right for left, right in pairwise(indents))


@kind("format:quote_unquote")
def explained_quotes(text: str) -> bool:
    text = "".join(text.replace("\u201c", '"').replace("\u201d", '"').replace("'\"'", "").split())
    return '""' not in text and not text.strip(string.digits + string.punctuation.replace('"', "")).endswith('"')


@kind("format:list")
def listed(text: str, *, sep: str) -> bool:
    return text.count(sep) >= 2


@kind("format:thesis")
def italic_thesis(text: str) -> bool:
    """Something in ``<i>`` or ``<em>``, and something after it."""
    match = re.search(r"<(?:i|em)>([^<]*)</(?:i|em)>", text)
    return match is not None and bool(match[1].strip()) and bool(text[match.end() :].strip())


@kind("format:sub-bullets")
def sub_bullets(text: str) -> bool:
    return all("-" in bullet for bullet in text.split("*")[1:])


@kind("format:no_bullets_bullets")
def sentences_then_bullets(text: str) -> bool:
    """Two sentences or more, then only lines that begin with ``*``, two or more."""
    lines = [line.strip() for line in text.split("\n")]
    first = next((number for number, line in enumerate(lines) if line.startswith("*")), len(lines))
    bullets = lines[first:]
    said = sum(len(sentences(line)) for line in lines[:first])
    return said >= 2 and len(bullets) >= 2 and all(line.startswith("*") for line in bullets)


@kind("format:title_case")
def title_case(text: str) -> bool:
    return not any(token[0].isalpha() and token[0].islower() for token in tokens(text) if token.isalpha())


@kind("format:output_template")
def output_template(text: str) -> bool:
    return all(part in text for part in ("My Answer:", "My Conclusion:", "Future Outlook:"))


@kind("format:no_whitespace")
def no_whitespace(text: str) -> bool:
    return not any(map(str.isspace, text))


@kind("count:keywords_multiple")
def five_keywords(text: str, *, keyword1: Word, keyword2: Word, keyword3: Word, keyword4: Word, keyword5: Word) -> bool:
    wanted = zip((keyword1, keyword2, keyword3, keyword4, keyword5), (1, 2, 3, 5, 7), strict=True)
    return all(occurrences(text, keyword) == count for keyword, count in wanted)


KINDS["words:keywords_specific_position"] = keyword_position


@kind("words:words_position")
def second_words(text: str, *, keyword: Word) -> bool:
    """The second word and the second to last, a final punctuation mark aside."""
    words = [token.lower() for token in tokens(text)]
    if words and words[-1] in string.punctuation:
        words.pop()
    return len(words) > 1 and words[1] == words[-2] == keyword.lower()


@kind("repeat:repeat_change")
def repeat_changed(text: str, *, prompt_to_repeat: str) -> bool:
    return text != prompt_to_repeat and text.split()[1:] == prompt_to_repeat.split()[1:]


@kind("repeat:repeat_simple")
def only_this_sentence(text: str) -> bool:
    return text.strip().lower() == _SENTENCE_HERE.lower()


@kind("repeat:repeat_span")
def repeat_span(text: str, *, prompt_to_repeat: str, n_start: int, n_end: int) -> bool:
    return copy(text, prompt_to_repeat=prompt_to_repeat[n_start : n_end + 1])


@kind("custom:multiples")
def multiples_of_seven(text: str) -> bool:
    return re.findall(r"\d+", text) == ["14", "21", "28", "35", "42", "49"]


@kind("custom:character_reverse")
def reversed_eagle(text: str) -> bool:
    return "elgae dlab" in text.lower()


@kind("custom:sentence_alphabet")
def sentence_alphabet(text: str) -> bool:
    return [sentence[0].lower() for sentence in sentences(text)] == list(string.ascii_lowercase)


@kind("custom:date_format_list")
def battle_dates(text: str) -> bool:
    """Dates that there are, of Napoleon's lifetime, between commas."""
    return all(map(_is_battle_date, text.split(",")))


def _is_battle_date(text: str) -> bool:
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text.strip(), re.ASCII):
        return False
    try:
        return 1769 <= date.fromisoformat(text.strip()).year <= 1821
    except ValueError:
        return False


@kind("custom:csv_city")
def csv_of_cities(text: str) -> bool:
    try:
        header, *rows = csv.reader(io.StringIO(text))
    except (csv.Error, ValueError):
        return False
    return header == ["ID", "Country", "City", "Year", "Count"] and [len(row) for row in rows] == [5] * 7
