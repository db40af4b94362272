"""``gym-ray recipe show``: the resolved plan of a recipe."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import yaml
from rich.console import Console

from gym_ray.cli.main import DONE
from gym_ray.cli.recipe import Recipe, find_recipe
from gym_ray.cli.tables import cell, new_table, output
from gym_ray.resources.judge import DEFAULT

HELP = """\
usage: gym-ray recipe show NAME [--nemo-rl | --print-config] [env=NAME,...] [model=CHOICE] [key=value]...

  gym-ray recipe show nemotron3_super/rlvr1
  gym-ray recipe show nemotron3_nano/rlvr recipe.generation.context_tokens=65536     what would that cost
  gym-ray recipe show nemotron3_nano/rlvr --nemo-rl > overrides.yaml                 the trainer's part, for NeMo-RL

Pools with their GPUs and what fits beside the weights, rollouts in flight, disk, environments, and every published
value beside ours with its source. Weights and caches are computed (gym_ray/plan/architecture.py has the formulas);
activations and captured graphs are not counted.
"""


def help_text() -> str:
    """Usage."""
    return HELP


def run(words: Sequence[str]) -> int:
    """See the module."""
    flags = [word for word in words if word in ("--nemo-rl", "--print-config")]
    recipe, _ = find_recipe([word for word in words if word not in flags], "recipe show")
    if "--nemo-rl" in flags:
        print(yaml.safe_dump(recipe.config.recipe.nemo_rl, sort_keys=False), end="")
    elif flags:
        from gym_ray.cli.collect import config_text

        print(config_text(recipe.config), end="")
    else:
        show(recipe, output())
    return DONE


def show(recipe: Recipe, console: Console) -> None:
    """Print the plan."""
    from gym_ray.plan.plan import make_plan

    config = recipe.config
    plan = make_plan(config)
    console.print(f"{recipe.name}: {config.recipe.title}", soft_wrap=True)
    _pools(console, recipe, plan)
    unknown = [pool.name for pool in plan.pools if pool.weight_gb is None and pool.name != "training" and pool.model]
    if unknown:
        console.print(f"weights of {', '.join(unknown)}: not known here, so what fits is not computed", soft_wrap=True)
    training, collect, data = config.recipe.training, config.collect, config.recipe.data
    console.print(
        f"\n{plan.step_rollouts:,} rollouts per step ({training.prompts_per_step:,} x {collect.rollouts_per_task}), "
        f"{plan.in_flight:,} in flight at age {training.max_age_steps}; engines batch {plan.batch:,}, agent workers "
        f"let in {plan.admitted:,}",
        soft_wrap=True,
    )
    console.print(
        f"disk: at most {plan.disk_gb:,.0f} GB per step, if every rollout filled its "
        f"{config.recipe.generation.context_tokens:,} tokens",
        soft_wrap=True,
    )
    console.print(
        f"data: {data.dataset}, {data.file}; the last {data.validation_rows:,} rows are for validation; "
        f"prepared in {data.folder}",
        soft_wrap=True,
    )
    _environments(console, recipe)
    if not recipe.rehearsal:
        _facts(console, recipe)
    for problem in plan.problems:
        console.print(f"PROBLEM {problem}", style="yellow", soft_wrap=True)


def _pools(console: Console, recipe: Recipe, plan: Any) -> None:
    numbers = ("nodes", "GPUs", "engines", "weights GB", "KV kB/token", "state MB", "context", "full requests")
    table = new_table(("pool", "model"), numbers)
    per_node = recipe.config.recipe.hardware.gpus_per_node
    for pool in plan.pools:
        shared = pool.name == "training" and recipe.config.recipe.generation.colocated
        table.add_row(
            cell(pool.name),
            cell(pool.model),
            f"{pool.nodes:,}" + (" (the same)" if shared else ""),
            f"{pool.nodes * per_node:,}",
            "-" if pool.name == "training" else f"{pool.replicas:,} x {pool.gpus}",
            *(_number(value) for value in (pool.weight_gb, pool.kv_kb_per_token, pool.state_mb)),
            f"{pool.context:,}" if pool.context else "-",
            "-" if pool.sequences is None else f"{pool.sequences:,}",
        )
    console.print(table)
    if per_node:
        console.print(f"each node: {per_node} x {recipe.config.recipe.hardware.gpu}", soft_wrap=True)
        console.print(
            "full requests: so many of the whole context fit beside the weights of one engine", soft_wrap=True
        )
    else:
        console.print("a rehearsal: one machine, no GPU", soft_wrap=True)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}"


def _environments(console: Console, recipe: Recipe) -> None:
    table = new_table(("environment", "class", "judge", "asked for as"), ("turns", "group", "actors"))
    for name, environment in recipe.config.envs.items():
        table.add_row(
            cell(name),
            cell(environment.server.rpartition(":")[2]),
            cell("-" if environment.judge == DEFAULT else environment.judge),
            cell(_named(environment.aliases)),
            str(recipe.config.agent_of(name).max_turns),
            str(recipe.config.rollouts_of(name)),
            str(environment.num_actors),
        )
    console.print()
    console.print(table)
    if recipe.left_out:
        console.print(f"left out, since NeMo Gym hosts them: {', '.join(recipe.left_out)}", soft_wrap=True)


def _named(aliases: Sequence[str]) -> str:
    return (aliases[0] if aliases else "-") + (f" and {len(aliases) - 1} more" if len(aliases) > 1 else "")


def _facts(console: Console, recipe: Recipe) -> None:
    from gym_ray.plan.plan import fact_rows

    console.print("\nvalues and where they come from")
    for row in fact_rows(recipe.config):
        line = f"{row.name} = {shown(row.ours)}   [{row.fact.source}]"
        if not row.same:
            line += f"   published: {shown(row.fact.published)}; {row.fact.why}"
        console.print(line, soft_wrap=True, highlight=False, markup=False)


def shown(value: object) -> str:
    """A value in one line."""
    return value if isinstance(value, str) else json.dumps(value)
