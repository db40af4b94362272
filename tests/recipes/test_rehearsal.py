"""Recipes as whole runs on this machine: all their environments and judges, played by the embedded model.

One deployment serves all of them: it has the same settings each time, so that deploying it again changes nothing, and
taking it down is left to the end.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gym_ray.cli.recipe import compose_recipe
from gym_ray.collect.driver import collect
from gym_ray.models.serve import deployment

pytestmark = [pytest.mark.ray, pytest.mark.vllm, pytest.mark.usefixtures("ray_cluster")]
ORDINARY = ["nemotron3_nano/rlvr_tiny"]
"""In every suite. The rest take minutes: scripts/test_recipes (and see test_shapes)."""
REST = [
    ("nemotron3_super/rlvr1_tiny", []),
    ("nemotron3_super/swe1_tiny", []),
    ("nemotron3_super/swe2_tiny", []),
    ("nemotron3_super/rlhf_tiny", []),
    *(
        (f"nemotron3_{name}", ["model=tiny", "collect=smoke"])
        for name in ["nano/rlvr", "nano/rlvr_small", "nano/rollout_1gpu"]
        + [f"super/{stage}{size}" for stage in ("rlvr2", "rlvr3", "swe1", "swe2", "rlhf") for size in ("", "_small")]
        + ["super/rlvr1", "super/rlvr1_small"]
    ),
]


@pytest.fixture(scope="module")
def one_deployment() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        undeploy = deployment.undeploy
        used: set[str] = set()
        patch.setattr(deployment, "undeploy", used.add)
        yield
        for name in used:
            undeploy(name)


Rehearse = Callable[..., dict[str, Any]]


@pytest.fixture
def rehearse(one_deployment: None, tmp_path: Path) -> Rehearse:
    def run(name: str, words: list[str], limit: int) -> dict[str, Any]:
        """Checks what a run must be; its environments as in ``metrics.json``."""
        recipe = compose_recipe(name, [*words, f"run_dir={tmp_path}/run", f"tasks.limit={limit}"])
        assert recipe.rehearsal
        summary = collect(recipe.config.run)
        wanted = limit * recipe.config.collect.rollouts_per_task
        assert summary.expected == wanted * len(recipe.config.envs)
        assert (summary.missing, summary.failed) == (0, 0), summary.environments
        counts = {env: its["scored"] + its["masked"] for env, its in summary.environments.items()}
        assert counts == dict.fromkeys(recipe.config.envs, wanted)
        assert json.loads((tmp_path / "run" / "manifest.json").read_text())["complete"]
        return summary.environments

    return run


@pytest.mark.parametrize("name", ORDINARY)
def test_the_whole_shape(name: str, rehearse: Rehearse) -> None:
    environments = rehearse(name, [], 1)
    assert any(its["tokens"]["completion_tokens"] for its in environments.values())


@pytest.mark.slow
@pytest.mark.parametrize(("name", "words"), REST, ids=[name for name, _ in REST])
def test_every_other_recipe(name: str, words: list[str], rehearse: Rehearse) -> None:
    rehearse(name, words, 2)
