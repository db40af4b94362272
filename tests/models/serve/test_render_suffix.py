"""What a turn costs, and which templates are believed to look no further back than the model's last turn."""

from __future__ import annotations

from typing import Any

import pytest

from gym_ray.models.serve.render import Renderer
from gym_ray.types.items import Item, assistant_message, function_call, function_call_output, reasoning, user_message
from tests.fidelity import families
from tests.models.serve.fakes import bytewise, tokenizer

TOOLS = [{"type": "function", "function": {"name": "take", "description": "x" * 3000, "parameters": {}}}]
END = tokenizer().convert_tokens_to_ids("<|im_end|>")


class Meter:
    """A tokenizer that counts the characters its template renders."""

    def __init__(self, template: str) -> None:
        self.chat_template, self.rendered = template, 0

    def apply_chat_template(self, *args: Any, **kwargs: Any) -> str:
        text: str = tokenizer().apply_chat_template(*args, **kwargs | {"chat_template": self.chat_template})
        self.rendered += len(text)
        return text

    def __getattr__(self, name: str) -> Any:
        return getattr(tokenizer(), name)


class Talk:
    """One conversation; ``step`` returns how many characters its turn cost, and how many ids were kept."""

    def __init__(self, template: str, first: str = "begin", **settings: Any) -> None:
        self.meter = Meter(template)
        self.renderer = Renderer(self.meter, [END], None, {}, **settings)
        self.items: list[Item] = [user_message(first)]
        self.prefix: list[int] | None = None
        self.covered = 0

    def step(self, said: list[Item], *new: Item, session: str = "s") -> tuple[int, int]:
        self.items += said
        self.covered = len(self.items)
        self.items += new
        before = self.meter.rendered
        prompt, kept = self.renderer.prompt(self.items, {"tools": TOOLS}, self.prefix, self.covered, session)
        self.prefix = [*prompt, *bytewise(tokenizer(), "said"), END]
        return self.meter.rendered - before, kept


def loop(talk: Talk, turns: int) -> list[tuple[int, int]]:
    """A tool loop after the first prompt: every turn thinks, calls and gets a result of 400 characters."""
    talk.step([])
    return [
        talk.step(
            [reasoning("hm"), function_call("take", "{}", f"call{turn:05d}")],
            function_call_output(f"call{turn:05d}", "r" * 400),
        )
        for turn in range(turns)
    ]


@pytest.mark.parametrize("family", ["STABLE", "STRIPPING", "MERGING", "TRIMMING", "LATE"])
def test_a_turn_costs_what_is_new_however_long_the_history(family: str) -> None:
    talk = Talk(getattr(families, family))
    costs = loop(talk, 60)
    assert all(kept for _, kept in costs)
    flat = {cost for cost, _ in costs[5:]}
    assert len(flat) == 1
    assert flat.pop() < 2000 < 400 * 60


@pytest.mark.parametrize("family", ["UNMARKED", "DATED", "COUNTING", "SHOUTING"])
def test_a_template_that_looks_further_back_renders_everything(family: str) -> None:
    costs = [cost for cost, _ in loop(Talk(getattr(families, family)), 30)]
    assert costs[-1] > 400 * 30


def test_what_was_said_first_is_not_overheard() -> None:
    """The first conversation makes the template look local; it must not be believed."""
    talk = Talk(families.SHOUTING)
    loop(talk, 4)
    talk.items, talk.prefix = [user_message("SHOUT")], None
    loop(talk, 4)
    assert tokenizer().decode(talk.prefix).count("<|im_start|>assistant\nHEAR: ") == 5


def test_a_turn_that_a_template_would_strip_is_told_from_one_it_would_not() -> None:
    talk = Talk(families.STRIPPING)
    talk.step([])
    for _ in range(6):
        assert talk.step([assistant_message("plain")], user_message("go on"))[1]
    assert talk.step([assistant_message("<think>hm</think>plain")], user_message("go on"))[1] == 0
    assert talk.step([reasoning("hm"), assistant_message("plain")], user_message("go on"))[1] == 0
    assert talk.step([assistant_message("plain")], user_message("go on"))[1]


def test_reasoning_earlier_in_the_loop_counts_as_well() -> None:
    for _ in range(2):  # judged when it is first met, known when it is met again
        talk = Talk(families.STRIPPING)
        loop(talk, 3)
        assert talk.step([assistant_message("done")], user_message("next"))[1] == 0
        assert "hm" not in tokenizer().decode(talk.prefix)


def test_kept_reasoning_costs_what_is_new_and_stays_in_the_prompt() -> None:
    talk = Talk(families.STRIPPING, keep_reasoning=True)
    talk.step([])
    costs = [talk.step([reasoning("hm"), assistant_message("x")], user_message("u" * 400)) for _ in range(40)]
    assert all(kept for _, kept in costs)
    assert len({cost for cost, _ in costs[5:]}) == 1
    assert tokenizer().decode(talk.prefix).count("said<|im_end|>\n<|im_start|>user\nuuu") == 40


def test_a_session_known_elsewhere_is_rendered_whole_and_alike() -> None:
    near, far = Talk(families.STABLE), Talk(families.STABLE)
    near.step([])
    far.step([], session="0")
    for turn in range(8):
        said, new = [assistant_message(f"x{turn}")], user_message("next")
        cost, _ = near.step(list(said), new)
        more, _ = far.step(list(said), new, session=str(turn))
        assert near.prefix == far.prefix
    assert cost < more


def test_a_prefix_of_another_conversation_is_not_taken_for_this_one() -> None:
    talk = Talk(families.STABLE)
    loop(talk, 4)
    assert talk.prefix is not None
    talk.items = [user_message("another"), *talk.items[4:]]
    _, kept = talk.step([assistant_message("x")], user_message("next"))
    assert kept == 0
