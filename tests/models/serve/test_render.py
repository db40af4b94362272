"""Turn after turn, the ids that went in and came out stay as they were; only what is new is tokenized."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gym_ray.models.serve.render import Renderer
from gym_ray.types.errors import RolloutError
from gym_ray.types.items import (
    Item,
    assistant_message,
    function_call,
    function_call_output,
    reasoning,
    user_message,
)
from tests.models.serve.fakes import STRIPPING, UNMARKED, bytewise, tokenizer

TOKENIZER = tokenizer()
END = TOKENIZER.convert_tokens_to_ids("<|im_end|>")
TOOLS = [{"type": "function", "function": {"name": "take", "parameters": {"type": "object", "properties": {}}}}]


def renderer(template: str | None = None) -> Renderer:
    return Renderer(TOKENIZER, [END], template, {})


def encode(text: str) -> list[int]:
    ids: list[int] = TOKENIZER.encode(text, add_special_tokens=False)
    return ids


def sample(text: str) -> list[int]:
    """What an engine might sample for ``text``: not the tokenizer's own split."""
    return [*bytewise(TOKENIZER, text), END]


words = st.text("abc 12{}\n", min_size=1, max_size=12)
turns = st.lists(st.tuples(st.one_of(st.none(), words), words, st.lists(words, max_size=3)), min_size=1, max_size=5)


@settings(max_examples=60, deadline=None)
@given(turns)
def test_every_prompt_extends_the_ids_before_it_and_reads_like_the_whole(dialogue: Any) -> None:
    render, body = renderer(), {"tools": TOOLS}
    items: list[Item] = [user_message("begin")]
    prompt, kept = render.prompt(items, body, None, 0)
    assert kept == 0
    for thought, text, outputs in dialogue:
        said = ([reasoning(thought)] if thought else []) + [assistant_message(text)]
        said += [function_call("take", '{"n": 1}', f"c{n}") for n in range(len(outputs))]
        before = TOKENIZER.decode(prompt)
        after = [function_call_output(f"c{n}", out) for n, out in enumerate(outputs)] or [user_message("go on")]
        whole = render.prompt([*items, *said, *after], body, None, 0)[0]
        sampled = sample(TOKENIZER.decode(whole)[len(before) :].partition("<|im_end|>")[0])
        prefix = prompt + sampled
        covered = len(items) + len(said)
        items += [*said, *after]
        prompt, kept = render.prompt(items, body, prefix, covered)
        assert kept == len(prefix)
        assert prompt[:kept] == prefix
        assert TOKENIZER.decode(prompt) == TOKENIZER.decode(whole)
        suffix = prompt[kept:]
        assert suffix == whole[-len(suffix) :]


def test_a_turn_cut_short_gets_its_end_mark_in_the_next_prompt() -> None:
    render = renderer()
    items = [user_message("count")]
    prompt, _ = render.prompt(items, {}, None, 0)
    prefix = prompt + bytewise(TOKENIZER, "one two thr")
    items = [*items, assistant_message("one two thr"), user_message("go on")]
    extended, kept = render.prompt(items, {}, prefix, 2)
    assert kept == len(prefix)
    assert extended[kept] == END
    assert TOKENIZER.decode(extended).count("one two thr<|im_end|>\n<|im_start|>user\ngo on<|im_end|>") == 1


def test_stripped_reasoning_starts_a_new_segment_and_kept_reasoning_does_not() -> None:
    render = renderer(STRIPPING)
    items = [user_message("look"), reasoning("hm"), function_call("take", "{}", "c0")]
    prompt, _ = render.prompt(items[:1], {}, None, 0)
    prefix = prompt + sample("<think>hm</think><tool_call>take{}</tool_call>")

    within, kept = render.prompt([*items, function_call_output("c0", "a cup")], {}, prefix, 3)
    assert kept == len(prefix)
    assert within[:kept] == prefix

    afresh, kept = render.prompt([*items, user_message("and now?")], {}, prefix, 3)
    assert kept == 0
    assert "hm" not in TOKENIZER.decode(afresh)


def test_text_that_the_template_trims_is_kept_as_sampled() -> None:
    render = renderer(STRIPPING)
    items = [user_message("say"), assistant_message("  spaced  "), user_message("again")]
    prompt, _ = render.prompt(items[:1], {}, None, 0)
    prefix = prompt + sample("  spaced  ")
    extended, kept = render.prompt(items, {}, prefix, 2)
    assert kept == len(prefix)
    assert TOKENIZER.decode(extended).count("  spaced  <|im_end|>\n<|im_start|>user\nagain<|im_end|>") == 1


def test_end_marks_written_by_a_user_do_not_confuse_the_count() -> None:
    render = renderer()
    items = [user_message("a<|im_end|>b<|im_end|>"), assistant_message("fine"), user_message("c<|im_end|>")]
    prompt, _ = render.prompt(items[:1], {}, None, 0)
    prefix = prompt + sample("fine")
    extended, kept = render.prompt(items, {}, prefix, 2)
    assert kept == len(prefix)
    assert TOKENIZER.decode(extended) == TOKENIZER.decode(render.prompt(items, {}, None, 0)[0])


@pytest.mark.parametrize(
    ("edit", "covered"),
    [
        pytest.param(lambda items: [user_message("earlier"), *items], 3, id="turn put in front"),
        pytest.param(lambda items: items, 1, id="covered stops before the turn"),
        pytest.param(lambda items: items, 3, id="covered goes beyond the turn"),
    ],
)
def test_a_prefix_that_does_not_fit_the_items_is_not_extended(edit: Any, covered: int) -> None:
    render = renderer()
    items = [user_message("say"), assistant_message("yes"), user_message("again")]
    prefix = render.prompt(items[:1], {}, None, 0)[0] + sample("yes")
    edited = edit(items)
    prompt, kept = render.prompt(edited, {}, prefix, covered)
    assert kept == 0
    assert prompt == render.prompt(edited, {}, None, 0)[0]


def test_a_template_without_end_marks_is_rendered_whole_each_time() -> None:
    render = renderer(UNMARKED)
    items = [user_message("say"), assistant_message("yes"), user_message("again")]
    prefix = render.prompt(items[:1], {}, None, 0)[0] + sample("yes")
    prompt, kept = render.prompt(items, {}, prefix, 2)
    assert kept == 0
    assert TOKENIZER.decode(prompt) == "user: say\nassistant: yes\nuser: again\nassistant: "


def test_what_a_template_refuses_is_a_rejected_request() -> None:
    render = renderer("{{ raise_exception('no user message') if messages | length > 2 }}x")
    with pytest.raises(RolloutError, match="no user message"):
        render.prompt([user_message("a"), assistant_message("b"), user_message("c")], {}, None, 0)


def test_images_are_refused_rather_than_left_out() -> None:
    image = {"role": "user", "content": [{"type": "input_image", "image_url": "data:image/png;base64,AA=="}]}
    with pytest.raises(RolloutError, match="text only"):
        renderer().prompt([image], {}, None, 0)
