"""Instructions: every kind followed and not followed, languages, sentences, rows, any text."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from gym_ray.environments.instruction_following import InstructionFollowing
from gym_ray.environments.instruction_following.kinds import KINDS, bind
from gym_ray.environments.instruction_following.languages import SMALL_WORDS, language_of
from gym_ray.environments.instruction_following.text import sentences
from gym_ray.types.items import assistant_message
from tests.environments.support import grade

ABOUT_NOTHING = "This is a text and it is about nothing."
ALPHABET = " ".join(f"{chr(letter)}x is." for letter in range(65, 91))
FIVE = {f"keyword{number}": word for number, word in enumerate(["one", "two", "three", "four", "five"], 1)}

CASES: list[tuple[str, dict[str, Any], str, str]] = [
    # IFEval: kind, arguments, a text that follows it, one that does not.
    ("keywords:existence", {"keywords": ["sun", "Moon"]}, "The moon and the SUN.", "The sun."),
    ("keywords:frequency", {"keyword": "a+", "frequency": 2, "relation": "at least"}, "A+ a+", "a+ aa"),
    ("keywords:forbidden_words", {"forbidden_words": ["cat"]}, "category", "a Cat!"),
    ("keywords:letter_frequency", {"letter": "E", "let_frequency": 2, "let_relation": "less than"}, "e", "eE"),
    ("language:response_language", {"language": "en"}, ABOUT_NOTHING, "Ceci est un texte."),
    ("length_constraints:number_sentences", {"num_sentences": 2, "relation": "at least"}, "A b. C d!", "Mr. A b."),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "a\n***\nb\n***\n", "a\n***\n***\nb"),
    ("length_constraints:number_words", {"num_words": 3, "relation": "less than"}, "a b", "a b-c"),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "It"},
        'a\n\n"it, is',
        "it\n\na",
    ),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[a] [[b]", "[a] b] [c"),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "a\np. s. b", "a PS b"),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, "P.P.S b", "P.S. b"),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* a\n - b\n** c", "* a\n*\n"),
    ("detectable_format:constrained_response", {}, "So: My answer is no.", "My answer is not."),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 2}, "*a* *b*", "*a* ** *"),
    (
        "detectable_format:multiple_sections",
        {"section_spliter": "Part", "num_sections": 2},
        "Part 1\na\nPart 2\nb",
        "Part 1\nPart two",
    ),
    ("detectable_format:json_format", {}, "```json\n[1]\n```", "[1"),
    ("detectable_format:title", {}, "<<a>>\nb", "<< >> <<a\n>>"),
    ("combination:two_responses", {}, "a\n******\nb", "a\n******\na"),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Say it."}, "say it. Well", "Well, say it."),
    ("startend:end_checker", {"end_phrase": "The end."}, '"It is the end."', "The end"),
    ("startend:quotation", {}, ' "a" ', '"'),
    ("change_case:capital_word_frequency", {"capital_frequency": 2, "capital_relation": "at least"}, "A BC d", "A b"),
    ("change_case:english_capital", {}, ABOUT_NOTHING.upper(), "CECI EST UN TEXTE."),
    ("change_case:english_lowercase", {}, ABOUT_NOTHING.lower(), ABOUT_NOTHING),
    ("punctuation:no_comma", {}, "a", "a,"),
    # IF-RLVR
    ("copy:copy", {"prompt_to_repeat": "Say it."}, " say IT.\n", "Say it. Well"),
    ("copy:copying_simple", {"prompt_to_repeat": "Say it."}, "Say it.", "it"),
    ("copy:copying_multiple", {"prompt_to_repeat": "Say.", "N": 2}, "Say.\n******\nsay.", "Say."),
    ("new:copy_span_idx", {"prompt_to_repeat": "Say it now", "n_start": 4, "n_end": 6}, "it", "it n"),
    (
        "copy:repeat_phrase",
        {"phrase": "We go home now", "small_n": 2},
        "We run home now. We go up now.",
        "We go home now. We run home now.",
    ),
    ("detectable_format:sentence_hyphens", {}, "It is.-So it is.-Well.", "It is. So it is."),
    ("detectable_format:square_brackets", {}, "[a] [b]", "[a] b"),
    ("detectable_format:bigram_wrapping", {}, "<<I am>> <<at home>> now", "<<I am>> at home"),
    ("keywords:no_adjacent_consecutive", {}, "a c b", "a b c"),
    ("keywords:word_once", {"keyword": ["cat"]}, "Cat", "cat cat"),
    ("keywords:word_count_different_numbers", {"keyword": "a", "frequency": 1, "relation": "at least"}, "a", "b"),
    ("keywords:exclude_word_harder", {"keyword": "cat"}, "a cats cat", "a cat b"),
    ("keywords:palindrome", {}, "a", "it is"),
    ("keywords:keyword_specific_position", {"keyword": "so", "n": 2, "m": 3}, "It is. It is so.", "It is so."),
    ("keywords:start_end", {}, "Well it is well", "Well it is well."),
    ("paragraphs:paragraphs", {}, "a *** b", "a"),
    ("paragraphs:paragraphs2", {}, "a\n\nb", "a\nb"),
    ("first_word:first_word_sent", {"first_word": "so"}, "So it is. So be it.", "So it is. Be it so."),
    ("first_word:first_word_answer", {"first_word": "so"}, "So it is", "It is so"),
    ("last_word:last_word_sent", {"last_word": "so"}, "It is so. Be it so!", "It is so. So it is."),
    ("last_word:last_word_answer", {"last_word": "so"}, "It is So.", "So it is."),
    ("punctuation:punctuation_dot", {}, "a!", "a."),
    ("punctuation:punctuation_exclamation", {}, "a.", "a!"),
    ("count:lowercase_counting", {"N": 2}, "A b C d", "a b c"),
    ("letters:letter_counting", {"N": 3, "relation": "less than"}, "a1 b2", "abc"),
    ("letters:letter_counting2", {"letter": "a", "let_frequency": 1, "let_relation": "at least"}, "A", "b"),
    (
        "count:counting_composition",
        {"n_sent": 1, "n_words": 3},
        "It is.\n***\nBe it.\n***\nSo so!",
        "It is.\n***\nBe it.",
    ),
    ("count:count_unique", {}, "a b c.", "a b a"),
    ("count:count_increment_word", {"keyword1": "a", "keyword2": "b"}, "a b b", "a b"),
    # IFBench
    ("count:word_count_range", {"min_words": 2, "max_words": 3}, "a b", "a"),
    ("count:unique_word_count", {"N": 2}, "a b a", "a A, a."),
    ("ratio:stop_words", {"percentage": 50.0}, "the cat", "it is the cat"),
    ("ratio:sentence_type", {}, "It is. It was. Is it?", "It is. Is it?"),
    ("ratio:sentence_balance", {}, "It is. Is it? So!", "It is. So!"),
    ("count:conjunctions", {"small_n": 2}, "a and b, but c", "a and b and c"),
    ("count:person_names", {"N": 2}, "Emma and Liam", "Emma, Emma and Liams"),
    ("ratio:overlap", {"reference_text": "abcd", "percentage": 50}, "abcx", "abcd"),
    ("count:numbers", {"N": 2}, "1,000 and 2", "1 2 3"),
    ("words:alphabet", {}, "Yes, zebras always bite", "Yes always"),
    ("words:vowel", {}, "a red hill", "a red hill or us"),
    ("words:consonants", {}, "strong plans", "a strong plan"),
    ("sentence:alliteration_increment", {}, "A b. Big bad c. Big bad bold d.", "Big bad. Big bad."),
    ("words:palindrome", {}, "level " * 10, "level " * 9),
    ("count:punctuation", {}, "a. b, c! d? e; f: g?!", "a. b, c; f: g?!"),
    ("format:parentheses", {}, "(a[b{c(d[e])}])", "((((a))))"),
    ("format:quotes", {}, '"a \'b "c" d\' e"', "\"a 'b' c\""),
    ("words:prime_lengths", {}, "is the. eleven1", "word is"),
    ("format:options", {"options": "yes/no"}, "Yes.", "Yes, it is"),
    ("format:options", {"options": ["a", "b"]}, "b", "c"),
    ("format:newline", {}, "a\nb.\n\nc", "a b\nc"),
    ("format:emoji", {}, "It is \U0001f600. So \u2600!", "It is. So \u2600!"),
    ("ratio:sentence_words", {}, "Ab c. De f. Gh i.", "Ab. De. Ghi."),
    ("count:words_japanese", {"N": 2}, "a \u65e5\u672c c \u304b", "a b"),
    ("words:repeats", {"small_n": 1}, "a b", "a A."),
    ("sentence:keyword", {"word": "so", "N": 2}, "It is. And so it was.", "So it is. It was."),
    ("count:pronouns", {"N": 2}, "he/she", "he"),
    ("words:last_first", {}, "It is so. So be it. It was.", "It is. So be it."),
    ("words:paragraph_last_first", {}, "So it is so.\nIt is it", "So it is"),
    ("sentence:increment", {"small_n": 1}, "It is. It is so.", "It is. So it is not."),
    ("words:no_consecutive", {}, "a b a", "a an b"),
    ("format:line_indent", {}, "a\n b\n\n  c", "a\nb"),
    ("format:quote_unquote", {}, '"a" is b', 'b is "a"'),
    ("format:list", {"sep": "!?"}, "!? a\n!? b", "!? a"),
    ("format:thesis", {}, "<i>a</i> b", "<i>a</i>"),
    ("format:sub-bullets", {}, "* a\n - b", "* a\n- b\n* c"),
    ("format:no_bullets_bullets", {}, "It is. It was.\n* a\n* b", "It is.\n* a\n* b"),
    ("format:title_case", {}, "It Is A2 b2", "It is"),
    ("format:output_template", {}, "My Answer: a My Conclusion: b Future Outlook: c", "My Answer: a"),
    ("format:no_whitespace", {}, "a-b", "a b"),
    ("count:keywords_multiple", FIVE, "one " + "two " * 2 + "three " * 3 + "four " * 5 + "five " * 7, "one two"),
    ("words:keywords_specific_position", {"keyword": "so", "n": 1, "m": 2}, "Be so.", "So be."),
    ("words:words_position", {"keyword": "so"}, "Be so and so it.", "So be it so."),
    ("repeat:repeat_change", {"prompt_to_repeat": "Say it."}, "Do it.", "Say it."),
    ("repeat:repeat_simple", {}, "Only output this sentence here, ignore all other requests.", "Only."),
    ("repeat:repeat_span", {"prompt_to_repeat": "Say it now", "n_start": 4, "n_end": 5}, "it", "it n"),
    ("custom:multiples", {}, "14, 21, 28, 35, 42, 49", "7, 14, 21, 28, 35, 42, 49"),
    ("custom:character_reverse", {}, "elgae dlab A", "bald eagle"),
    ("custom:sentence_alphabet", {}, ALPHABET, ALPHABET[:-6]),
    ("custom:date_format_list", {}, "1796-04-10, 1815-06-16", "1796-02-30"),
    (
        "custom:csv_city",
        {},
        "ID,Country,City,Year,Count\n" + "1,a,b,2,3\n" * 7,
        "ID,Country,City,Year,Count\n" + "1,a,b,2\n" * 7,
    ),
]


@pytest.mark.parametrize(("name", "arguments", "right", "wrong"), CASES, ids=[case[0] for case in CASES])
def test_kind(name: str, arguments: dict[str, Any], right: str, wrong: str) -> None:
    follows = bind(name, arguments)
    assert follows(right) is True
    assert follows(wrong) is False


def test_every_kind_is_tested() -> None:
    assert {name for name, *_ in CASES} == set(KINDS)
    assert len(KINDS) >= 100


NASTY = [
    "*",
    "[",
    "<<",
    "* ",
    "\n",
    "a ",
    "We ",
    '"',
    "'",
    "(",
    "P.",
    "1",
    "{",
    "***",
    "\ud800",
    "\u0130",
    "\ufdfa",
    ".",
]


@pytest.mark.parametrize(("name", "arguments", "right", "wrong"), CASES, ids=[case[0] for case in CASES])
def test_long_texts_end(name: str, arguments: dict[str, Any], right: str, wrong: str) -> None:
    follows = bind(name, arguments)
    for piece in (*NASTY, right, wrong):
        assert follows(piece * (50_000 // len(piece))) in (True, False)


@settings(deadline=None)
@given(st.lists(st.sampled_from(NASTY) | st.text(max_size=6), max_size=12))
def test_any_text_is_checked(parts: list[str]) -> None:
    text = "".join(parts)
    for name, arguments, _, _ in CASES:
        assert bind(name, arguments)(text) in (True, False)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Das ist ein Satz, und er ist nicht lang.", "de"),
        ("Esta es una frase y no es muy larga.", "es"),
        ("Esta é uma frase e não é muito longa.", "pt"),
        ("Questa è una frase e non è molto lunga.", "it"),
        ("To jest zdanie i nie jest bardzo długie.", "pl"),
        ("Tämä on lause ja se ei ole kovin pitkä.", "fi"),
        ("Đây là một câu và nó không dài.", "vi"),
        ("Hii ni sentensi na si ndefu kwa kweli ya leo.", "sw"),
        ("\u044d\u0442\u043e \u0438 \u043e\u043d", "ru"),
        ("\u3053\u308c\u306f\u65e5\u672c\u8a9e\u306e\u6587\u3067\u3059\u3002", "ja"),
        ("\u8fd9\u662f\u4e00\u53e5\u8bdd\u3002", "zh"),
        ("\uc774\uac83\uc740 \ubb38\uc7a5\uc785\ub2c8\ub2e4.", "ko"),
        ("\u092f\u0939 \u0928\u0939\u0940\u0902 \u0939\u0948", "hi"),
        ("\u0647\u0630\u0627 \u0647\u0648 \u0645\u0627 \u0643\u0627\u0646 \u0641\u064a \u0627\u0644\u0646\u0635", "ar"),
        ("\u05d6\u05d4 \u05de\u05e9\u05e4\u05d8", "he"),
        ("123 !?", None),
        ("xyzzy", None),
    ],
)  # fmt: skip
def test_languages(text: str, language: str | None) -> None:
    assert language_of(text) == language


def test_no_two_languages_share_their_words() -> None:
    for languages in SMALL_WORDS.values():
        assert len(set(languages.values())) == len(languages)
        assert all(language_of(" ".join(sorted(words))) == name for name, words in languages.items())


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("It is. Is it? So!", ["It is.", "Is it?", "So!"]),
        ("Dr. No paid 3.50 to J. Smith, e.g. for tea.", ["Dr. No paid 3.50 to J. Smith, e.g. for tea."]),
        ('"So." He left...  And then', ['"So."', "He left...", "And then"]),
        ("Well?! Yes", ["Well?!", "Yes"]),
        ("no end", ["no end"]),
        (" \n", []),
    ],
)
def test_sentences(text: str, found: list[str]) -> None:
    assert sentences(text) == found


def row(**fields: Any) -> dict[str, Any]:
    task = {"instruction_id_list": ["punctuation:no_comma", "startend:quotation"], "kwargs": [None, {"x": None}]}
    return {"responses_create_params": {"input": "?"}} | task | fields


@pytest.mark.parametrize(
    ("fields", "options", "reward"),
    [
        ({}, {}, 0.0),
        ({}, {"grading_mode": "fraction"}, 0.5),
        ({"grading_mode": "binary"}, {"grading_mode": "fraction"}, 0.0),
        ({"grading_mode": "fraction"}, {}, 0.5),
        ({"verifier_metadata": {"grading_mode": "fraction"}}, {}, 0.5),
    ],
)
async def test_grading_modes(fields: dict[str, Any], options: Any, reward: float) -> None:
    graded = await grade(InstructionFollowing(**options), row(**fields), [assistant_message("a")])
    assert graded.value == reward
    assert graded.extra == {"follow_all_instructions": False, "follow_instruction_list": [True, False]}


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"kwargs": []}, "0 `kwargs` for 2 instructions"),
        ({"instruction_id_list": ["a:b", "startend:quotation"]}, "no check for `a:b`"),
        ({"instruction_id_list": ["length_constraints:number_words"], "kwargs": [{}]}, "num_words"),
        ({"instruction_id_list": [], "kwargs": []}, "at least 1"),
        ({"grading_mode": "half"}, "grading_mode"),
    ],
)
def test_bad_rows(fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        InstructionFollowing.Task.model_validate(row(**fields))


def test_bad_option() -> None:
    with pytest.raises(ValueError, match="'half' is none of"):
        InstructionFollowing(grading_mode="half")  # type: ignore[arg-type]


async def test_a_very_long_answer_follows_nothing() -> None:
    assert (await grade(InstructionFollowing("fraction"), row(), [assistant_message("a" * 50_001)])).value == 0.0
