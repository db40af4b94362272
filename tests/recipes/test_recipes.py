"""Every shipped recipe: its plan, its published values, and what a dry run finds; and the arithmetic behind them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from gym_ray.cli.compose import recipes_dir
from gym_ray.cli.main import main
from gym_ray.cli.recipe import compose_recipe, made_of, recipe_names
from gym_ray.plan.architecture import KNOWN, STATE_BYTES, architecture_of
from gym_ray.plan.checks import Check, check_run
from gym_ray.plan.plan import fact_rows, make_plan
from gym_ray.plan.published import table, written
from gym_ray.types.errors import UserError
from tests.recipes.test_prepare import examples, recipe

HOSTED = {"envs.workplace_assistant", "envs.lean", "envs.swerl_gen"}
"""They need NeMo Gym, which is not there."""
NAMES = recipe_names()


def test_the_stages_and_sizes_are_there() -> None:
    stages = ["rlvr1", "rlvr2", "rlvr3", "swe1", "swe2", "rlhf"]
    assert {f"nemotron3_super/{stage}{size}" for stage in stages for size in ("", "_small")} <= set(NAMES)
    assert {f"nemotron3_super/{stage}_tiny" for stage in ("rlvr1", "swe1", "swe2", "rlhf")} <= set(NAMES)
    assert {"nemotron3_nano/rlvr", "nemotron3_nano/rlvr_small", "nemotron3_nano/rlvr_tiny"} <= set(NAMES)


@pytest.mark.parametrize("size", ["", "_small"])
def test_later_stages_differ_in_their_data_alone(size: str) -> None:
    """So one rehearsal is enough for all three, and there is no `rlvr2_tiny`."""

    def settings(stage: str) -> dict[str, Any]:
        one = recipe(f"nemotron3_super/{stage}{size}").config.model_dump(mode="json")
        assert stage in one["tasks"].pop("path")
        assert all(stage in one["recipe"]["data"].pop(key) for key in ("file", "folder"))
        del one["recipe"]["title"], one["run_dir"]
        return one

    assert settings("rlvr1") == settings("rlvr2") == settings("rlvr3")


@pytest.mark.parametrize("name", NAMES)
def test_the_plan_adds_up(name: str) -> None:
    one = recipe(name)
    plan = make_plan(one.config)
    assert plan.problems == []
    settings = one.config.recipe
    for pool in plan.pools:
        if one.rehearsal or pool.name == "training":
            continue
        assert pool.gpus * pool.replicas == pool.nodes * settings.hardware.gpus_per_node or "small" in name, pool
        assert pool.sequences is not None, "its memory is known"
        assert pool.sequences >= 1, "a request of the stated context fits"
    assert plan.in_flight <= plan.admitted or one.rehearsal, "agent workers let in what the trainer keeps going"
    # What is not of this recipe's pools is no node of its.
    judges = {environment.judge for environment in one.config.envs.values()}
    assert {pool for pool, nodes in settings.nodes.items() if nodes} <= {"training", "policy"} | judges


@pytest.mark.parametrize("name", [name for name in NAMES if not name.endswith("_tiny")])
def test_each_difference_from_what_was_published_is_explained(name: str) -> None:
    rows = fact_rows(recipe(name).config)
    assert len(rows) > 15
    assert [row.name for row in rows if not row.same and not row.fact.why] == []
    absent = [row.name for row in rows if row.ours is None and not row.fact.why]
    assert absent == [], "a value under this name is not in the recipe"


def test_the_trainers_part_is_what_the_rollouts_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipe", "show", "nemotron3_super/rlhf", "--nemo-rl", "collect.rollouts_per_task=8"]) == 0
    part = yaml.safe_load(capsys.readouterr().out)
    assert (part["grpo"]["num_prompts_per_step"], part["grpo"]["num_generations_per_prompt"]) == (128, 8)
    assert part["policy"]["generation"]["colocated"]["resources"]["num_nodes"] == 64
    assert part["policy"]["max_total_sequence_length"] == 49152
    assert part["loss_fn"]["reference_policy_kl_penalty"] == 1e-4


@pytest.mark.parametrize("name", ["nemotron3_nano/rlvr", "nemotron3_super/rlvr1", "nemotron3_super/swe2_tiny"])
def test_show(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipe", "show", name]) == 0
    shown = capsys.readouterr().out
    assert all(environment in shown for environment in recipe(name).config.envs)
    assert "PROBLEM" not in shown
    if name == "nemotron3_super/rlvr1":
        assert "4,096 rollouts per step (256 x 16), 8,192 in flight" in shown
        assert "published: 8 (RL), 4 (NT)" in shown


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipe", "list"]) == 0
    listed = capsys.readouterr().out
    assert [name for name in NAMES if name not in listed] == []


def dry_run(name: str, folder: Path) -> list[Check]:
    """With a task file that has a row for each environment."""
    path = folder / f"{name.replace('/', '-')}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in examples(name)))
    config = recipe(name).config
    tasks = config.tasks.model_copy(update={"path": str(path)})
    return list(check_run(config.run.model_copy(update={"tasks": tasks, "run_dir": str(folder / "run")})))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.vllm
def test_a_dry_run_finds_nothing_wrong_but_what_is_not_installed(name: str, tmp_path: Path) -> None:
    checks = dry_run(name, tmp_path)
    wrong = {check.subject for check in checks if check.verdict == "wrong"}
    assert wrong == HOSTED & {f"envs.{env}" for env in recipe(name).config.envs}
    assert all(check.note for check in checks if check.verdict == "unseen")
    subjects = {check.subject for check in checks if check.verdict == "ok"}
    assert "model.serve.engine_args" in subjects


@pytest.mark.vllm
def test_a_dry_run_tells_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["env=mcqa,math", "model.serve.engine_args.tensor_paralel_size=2", "model.serve.tool_parser=qwen3_codr"]
    words += ["model.serve.api_key_env=NOT_SET_ANYWHERE", "recipe.nodes.policy=1", f"run_dir={tmp_path}/run"]
    assert main(["recipe", "run", "nemotron3_nano/rlvr", "--dry-run", *words]) == 1
    out = capsys.readouterr().out
    for part in ("nearest: tensor_parallel_size", "nearest: qwen3_coder", "$NOT_SET_ANYWHERE is not set", "mcqa.jsonl"):
        assert part in out
    assert "unseen" in out


def test_environments_may_be_chosen_and_others_are_not_there() -> None:
    one = compose_recipe("nemotron3_super/rlvr1", ["env=mcqa,genrm"])
    assert list(one.config.envs) == ["mcqa", "genrm"]
    assert one.config.envs["mcqa"].tasks == "data/nemotron3_super/rlvr1/train/mcqa.jsonl"
    with pytest.raises(UserError, match="env=chess: the recipe has no such environment"):
        compose_recipe("nemotron3_super/rlvr1", ["env=chess"])


def test_a_rehearsal_needs_one_machine() -> None:
    one = compose_recipe("nemotron3_super/rlvr1", ["model=tiny", "collect=smoke"])
    assert one.rehearsal
    assert {f"envs.{env}" for env in one.left_out} == HOSTED
    assert {environment.judge for environment in one.config.envs.values()} == {"policy"}
    assert {environment.num_actors for environment in one.config.envs.values()} == {1}
    assert max(one.config.agent_of(env).max_turns for env in one.config.envs) == 4
    assert one.config.agent_of("search_pivot").max_turns == 1
    assert one.config.tasks.path is None
    own = compose_recipe("nemotron3_super/rlvr1", ["model=tiny", "judges.general=tiny", "envs.code_gen.num_actors=2"])
    assert own.config.envs["nl2bash"].judge == "general"
    assert own.config.judges["general"].name == "tiny"
    assert own.config.envs["code_gen"].num_actors == 2


def test_speculation_is_a_choice_of_the_model() -> None:
    arguments = compose_recipe("nemotron3_super/rlvr1", ["model=nemotron3_super_mtp"]).config.model.serve.engine_args
    assert arguments["speculative_config"] == {"method": "mtp", "num_speculative_tokens": 5}
    assert (arguments["max_model_len"], arguments["enable_prefix_caching"]) == (65536, False)


@pytest.mark.vllm
@pytest.mark.parametrize("name", [name for name, one in KNOWN.items() if one.mamba])
@pytest.mark.parametrize("ranks", [1, 2, 4, 8])
def test_a_mamba_state_is_as_large_as_vllm_makes_it(name: str, ranks: int) -> None:
    from math import prod

    from vllm.model_executor.layers.mamba.mamba_utils import MambaStateShapeCalculator

    mamba = KNOWN[name].mamba
    assert mamba is not None
    convolution, state = MambaStateShapeCalculator.mamba2_state_shape(
        ranks, mamba.heads * mamba.head_size, mamba.groups, mamba.heads, mamba.head_size, mamba.state_size, mamba.kernel
    )
    for dtype, size in STATE_BYTES.items():
        whole = mamba.layers * ranks * (prod(convolution) * 2 + prod(state) * size)
        assert KNOWN[name].bytes_per_request(dtype) == whole


def test_keys_and_values() -> None:
    nano, big = (KNOWN[f"nvidia/NVIDIA-Nemotron-3-{name}-BF16"] for name in ("Nano-30B-A3B", "Super-120B-A12B"))
    assert (nano.bytes_per_token(), big.bytes_per_token()) == (6144, 8192)
    # Two heads on eight ranks: each is kept four times.
    assert (big.bytes_per_token(2), big.bytes_per_token(8)) == (8192, 4 * 8192)
    tiny = architecture_of(str(Path("gym_ray/models/tiny/weights").absolute()))
    assert tiny is not None
    assert tiny.mamba is None
    assert tiny.weight_bytes > 1e5
    assert architecture_of("no/such-model") is None


def test_the_table_in_the_readme_is_that_of_the_recipes() -> None:
    readme = (recipes_dir() / "README.md").read_text(encoding="utf-8")
    ours = [(name, made_of(name), recipe(name).config) for name in NAMES if not recipe(name).rehearsal]
    assert written(readme, table(ours)) == readme, "scripts/recipe_table writes it"
