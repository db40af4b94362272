"""Reasoning Gym: where the answer stands, what a scorer may see, and every dataset's own answer."""

from __future__ import annotations

import inspect
import json
import re
import time
from pathlib import Path

import pytest

from gym_ray.environments import catalog
from gym_ray.environments.generate import Difficulty
from gym_ray.environments.reasoning_gym.answers import EXPRESSIONS, LITERALS, is_harmless, read_answer
from gym_ray.environments.reasoning_gym.generate import KINDS, solve
from gym_ray.environments.reasoning_gym.scoring import NoVerdict, score
from gym_ray.types.items import item_text

EVALUATES = re.compile(r"\beval\(|\bexec\(|parse_expr\(|sympify\(")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<answer>4</answer>", "4"),
        ("<answer>3</answer> no, <answer>\n 4 </answer>", "4"),
        ("<answer>3</answer> <answer>4", "3"),
        ("<answer>a<answer>b</answer>", "a<answer>b"),
        (r"it is \boxed{4} or \boxed{5}", "4"),
        (r"\boxed{} \boxed{5}", "5"),
        (r"<answer>4</answer> \boxed{5}", "4"),
        (r"\boxed{4", r"\boxed{4"),
        (" just 4\n", "just 4"),
        ("", ""),
    ],
)
def test_read_answer(text: str, answer: str) -> None:
    assert read_answer(text) == answer


@pytest.mark.parametrize("hostile", ["<answer>" * 50_000, "\\boxed{" * 50_000, "<answer>\\boxed{}" * 30_000])
def test_long_texts_take_linear_time(hostile: str) -> None:
    began = time.process_time()
    read_answer(hostile)
    assert time.process_time() - began < 2


def test_every_scorer_that_evaluates_is_guarded() -> None:
    from reasoning_gym.factory import DATASETS

    found = {name for name, (kind, _) in DATASETS.items() if EVALUATES.search(inspect.getsource(kind.score_answer))}
    found -= {"number_sorting"}  # evaluates the row's own answer only
    assert found == LITERALS | EXPRESSIONS


@pytest.mark.parametrize("name", sorted(LITERALS | EXPRESSIONS))
def test_model_text_does_not_run(name: str, tmp_path: Path) -> None:
    import reasoning_gym

    entry = json.loads(json.dumps(reasoning_gym.create_dataset(name, seed=1, size=1)[0]))
    proof = tmp_path / "ran"
    code = f"__import__('pathlib').Path({str(proof)!r}).touch()"
    for attempt in (code, f"[{code}]", f"[[{code}]]", f"sqrt({code})", f"f'{{{code}}}'"):
        assert score(name, attempt, entry) <= 0.05
    assert not proof.exists()
    # Without the guard it would have: the scorer is what it is taken for.
    reasoning_gym.get_score_answer_fn(name)(answer=code, entry=entry)
    assert proof.exists()


@pytest.mark.parametrize(
    ("name", "answer", "harmless"),
    [
        ("countdown", "(3 + 4)*5 - 2/1.5", True),
        ("simple_integration", "x**3/3 + sin(x) + C", True),
        ("countdown", "a.b", False),
        ("countdown", "x[0]", False),
        ("countdown", "open(1)", False),
        ("countdown", "1 if x else 2", False),
        ("countdown", "+".join("1" * 2000), False),
        ("n_queens", "[['_', 'Q']]", True),
        ("n_queens", "[i for i in range(3)]", False),
        ("spiral_matrix", "(" * 5000, False),
        ("chain_sum", "anything(at, all)", True),
    ],
)
def test_is_harmless(name: str, answer: str, harmless: bool) -> None:
    assert is_harmless(name, answer, "1") is harmless


@pytest.mark.parametrize("level", Difficulty)
def test_the_entry_s_own_answer_is_right(level: Difficulty) -> None:
    for row in map(json.loads, map(json.dumps, catalog.generator("reasoning_gym")(60, 3, level))):
        answer = read_answer(item_text(solve(row)[0][0]))
        assert score(row["metadata"]["source_dataset"], answer, row) == 1.0, row
        assert len(row["question"]) < 2000


@pytest.mark.parametrize("name", ["arc_agi", "rearc"])
def test_grids_that_were_json(name: str) -> None:
    import reasoning_gym

    entry = json.loads(json.dumps(reasoning_gym.create_dataset(name, seed=2, size=1)[0]))
    assert score(name, entry["answer"], entry) == 1.0


def test_no_verdict() -> None:
    entry = {"question": "?", "answer": "1", "metadata": {}}
    with pytest.raises(NoVerdict, match="no scorer for 'nothing'"):
        score("nothing", "1", entry)
    with pytest.raises(NoVerdict, match="valid_answers"):
        score("n_queens", "2", entry)


def test_kinds_are_datasets() -> None:
    from reasoning_gym.factory import DATASETS

    assert set(KINDS) <= set(DATASETS)
