"""Every shipped recipe as a whole run on this machine: all its environments and judges, the embedded model as policy.

Many recipes differ only in their size or their data. Their rehearsals are the same, setting by setting, so each of
those runs once, and each recipe is shown to have one of them.

One deployment serves all of them: it has the same settings each time, so that deploying it again changes nothing, and
taking it down is left to the end.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from gym_ray.cli.recipe import compose_recipe, recipe_names
from gym_ray.collect.driver import collect
from gym_ray.models.serve import deployment

REHEARSED = [
    "nemotron3_nano/rlvr_tiny",
    *(f"nemotron3_super/{stage}_tiny" for stage in ("rlvr1", "swe1", "swe2", "rlhf")),
]
WORDS = ("model=tiny", "collect=smoke")


@lru_cache
def settings(name: str, words: tuple[str, ...] = WORDS) -> dict[str, Any]:
    """All that its rehearsal is, but for the directory and judges that nobody asks."""
    recipe = compose_recipe(name, [*words, "run_dir=run"])
    assert recipe.rehearsal
    run = recipe.config.run.model_dump(mode="json")
    asked = {environment["judge"] for environment in run["envs"].values()}
    return run | {"judges": {judge: its for judge, its in run["judges"].items() if judge in asked}}


@pytest.mark.parametrize("name", [name for name in recipe_names() if name not in REHEARSED])
def test_each_recipe_has_a_rehearsal_that_runs_here(name: str) -> None:
    assert settings(name) in [settings(rehearsed) for rehearsed in REHEARSED]


@pytest.mark.parametrize("name", REHEARSED)
def test_a_rehearsal_by_its_name_or_by_its_words_is_the_same(name: str) -> None:
    assert settings(name, ()) == settings(name)


@pytest.fixture(scope="module")
def one_deployment() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        undeploy = deployment.undeploy
        used: set[str] = set()
        patch.setattr(deployment, "undeploy", used.add)
        yield
        for name in used:
            undeploy(name)


@pytest.mark.ray
@pytest.mark.vllm
@pytest.mark.usefixtures("ray_cluster", "one_deployment")
@pytest.mark.parametrize("name", REHEARSED)
def test_all_environments_and_judges_play(name: str, tmp_path: Path) -> None:
    recipe = compose_recipe(name, [*WORDS, f"run_dir={tmp_path}/run", "tasks.limit=1"])
    summary = collect(recipe.config.run)
    wanted = recipe.config.collect.rollouts_per_task
    assert (summary.missing, summary.failed) == (0, 0), summary.environments
    counts = {env: its["scored"] + its["masked"] for env, its in summary.environments.items()}
    assert counts == dict.fromkeys(recipe.config.envs, wanted)
    assert any(its["tokens"]["completion_tokens"] for its in summary.environments.values())
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["complete"]
