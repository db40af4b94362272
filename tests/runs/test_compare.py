"""Comparisons of scripted runs, against numbers worked out by hand."""

from __future__ import annotations

import json
import random
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from gym_ray.cli.main import main
from gym_ray.runs.compare import compare_runs
from gym_ray.runs.profile import Thresholds
from gym_ray.types.errors import UserError
from gym_ray.types.rollout import Rollout
from tests.support.scripted_runs import scripted, write_run


def compared(folder: Path, first: list[Rollout], second: list[Rollout], **options: Any) -> dict[str, Any]:
    runs = (write_run(folder / name, its) for name, its in (("a", first), ("b", second)))
    found: dict[str, Any] = compare_runs(*runs, **options)["environments"]
    return found


def test_tasks_are_paired_by_name_and_differences_are_second_minus_first(tmp_path: Path) -> None:
    first = [scripted(task, index, task / 10) for task in range(5) for index in range(2)]
    second = [scripted(task, 0, (4 - task) / 10 + 0.3) for task in range(5)]
    for row in second:
        row.task_id = f"t{4 - row.task_number}"
    found = compared(tmp_path, first, second)["quiz"]
    assert found["common_tasks"] == 5
    assert [found["reward_difference"][key] for key in ("mean", "low", "high")] == pytest.approx([0.3, 0.3, 0.3])
    assert (found["a"]["reward"]["mean"], found["b"]["reward"]["mean"]) == pytest.approx((0.2, 0.5))
    assert found["p"] == found["p_corrected"] == 2 / 2**5


def test_what_cannot_be_paired_is_counted_and_in_no_mean(tmp_path: Path) -> None:
    first = [scripted(0, 0, 0.0), scripted(1, 0, 1.0), scripted(2, 0, 0.5), scripted(2, 1, None)]
    second = [scripted(0, 0, 1.0), scripted(2, 0, None, failed="agent_timeout"), scripted(3, 0, 1.0)]
    found = compared(tmp_path, first, second)["quiz"]
    counts = [found[name] for name in ("common_tasks", "only_in_a", "only_in_b", "unscored_tasks")]
    assert counts == [1, 1, 1, 1]
    assert [found["a"][name] for name in ("scored", "masked", "failed")] == [3, 1, 0]
    assert [found["b"][name] for name in ("scored", "masked", "failed")] == [2, 0, 1]
    assert (found["a"]["reward"]["mean"], found["b"]["reward"]["mean"]) == (0.0, 1.0)


def test_flips_are_tasks_solved_in_one_run_only(tmp_path: Path) -> None:
    rates = {0: (0, 2), 1: (2, 0), 2: (1, 2), 3: (0, 1), 4: (0, 0)}
    runs = [
        [scripted(task, index, float(index < its[side])) for task, its in rates.items() for index in range(2)]
        for side in range(2)
    ]
    found = compared(tmp_path, *runs)["quiz"]
    assert [(flip["task_id"], flip["solved_in"]) for flip in found["flips"]] == [("t0", "b"), ("t1", "a"), ("t3", "b")]
    assert (found["solved_only_in_a"], found["solved_only_in_b"]) == (1, 2)


def test_environments_are_corrected_for_together(tmp_path: Path) -> None:
    environments = [*["won"] * 9, *["even"] * 8]
    first = [
        scripted(task, 0, 0.0 if task < 9 else task % 2, environment=name) for task, name in enumerate(environments)
    ]
    second = [scripted(task, 0, 1.0 if task < 9 else 0.5, environment=name) for task, name in enumerate(environments)]
    found = compared(tmp_path, first, second, thresholds=Thresholds(0.5))
    assert found["won"]["p"] == 2 / 2**9
    assert found["won"]["p_corrected"] == 2 * found["won"]["p"]
    assert found["even"]["p"] == found["even"]["p_corrected"] == 1.0


def test_pairs_see_what_the_spread_of_tasks_hides(tmp_path: Path) -> None:
    """Hard and easy tasks differ far more than the runs do; the difference is still found."""
    random_ = random.Random(0)
    levels = [random_.random() for _ in range(40)]
    first = [scripted(task, 0, level) for task, level in enumerate(levels)]
    second = [scripted(task, 0, level + random_.gauss(0.05, 0.05)) for task, level in enumerate(levels)]
    found = compared(tmp_path, first, second)["quiz"]
    differences = [(b.reward.value if b.reward else 0) - level for b, level in zip(second, levels, strict=True)]
    assert found["reward_difference"]["mean"] == pytest.approx(fmean(differences))
    assert found["p"] < 0.001
    assert found["reward_difference"]["low"] > 0
    assert found["a"]["reward"]["high"] > found["b"]["reward"]["low"], "unpaired intervals overlap"


def test_scipy_agrees(tmp_path: Path) -> None:
    stats = pytest.importorskip("scipy.stats")
    random_ = random.Random(1)
    pairs = [(9 * random_.random(), 9 * random_.random()) for _ in range(60)]
    first, second = ([scripted(task, 0, pair[side]) for task, pair in enumerate(pairs)] for side in range(2))
    found = compared(tmp_path, first, second)["quiz"]
    test = stats.ttest_rel([b for _, b in pairs], [a for a, _ in pairs])
    low, high = test.confidence_interval(0.95)
    assert [found["reward_difference"][key] for key in ("low", "high")] == pytest.approx([low, high])
    assert found["p"] == pytest.approx(test.pvalue, abs=0.03)


def test_nothing_in_common(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, [scripted(task, 0)]) for task, name in enumerate("ab")]
    found = compare_runs(*runs)
    its = found["environments"]["quiz"]
    assert (its["common_tasks"], its["p"], its["p_corrected"], its["reward_difference"]) == (0, None, None, None)
    assert found["notes"] == ["quiz: no task has a scored rollout in both runs"]


def test_the_verb_prints_and_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "runs/old", [scripted(task, 0, 0.0) for task in range(6)])
    write_run(tmp_path / "runs/new", [scripted(task, 0, 1.0) for task in range(6)], complete=False)
    assert main(["compare", "old", "runs/new", "--flips", "2", "--json", "c.json"]) == 0
    shown = capsys.readouterr().out
    assert "runs/new is partial" in shown
    row = next(line for line in shown.splitlines() if line.startswith("quiz"))
    assert " ".join(row.split()) == "quiz 6 0.000 1.000 +1.000 [+0.219, +1.000] 0.0312 0.0312 0 6"
    assert "and 4 more" in shown
    assert len(json.loads(Path("c.json").read_text())["environments"]["quiz"]["flips"]) == 6


@pytest.mark.parametrize("words", [[], ["one"], ["a", "b", "--flips", "many"], ["no-run", "none-either"]])
def test_mistakes_are_one_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *words]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_run_without_shards_is_an_error(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, its) for name, its in (("a", [scripted(0, 0)]), ("b", []))]
    with pytest.raises(UserError, match="no shards yet"):
        compare_runs(*runs)
