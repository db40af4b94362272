"""``gym-ray runs recover``: what a dead run left, made into shards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import yaml
from pydantic import ValidationError

from gym_ray.cli.main import DONE
from gym_ray.cli.runs_show import run_address
from gym_ray.types.errors import UserError
from gym_ray.types.validation import explain

if TYPE_CHECKING:  # importing it for real loads Ray, which `--help` does not need
    from gym_ray.collect.output.finalize import Summary

HELP = """\
usage: gym-ray runs recover RUN

The journal of RUN has every rollout that was finished before it died. This makes shards, metrics and a manifest of
them, so that RUN can be profiled, viewed and exported. Nothing is lost by it: the same collect command still goes on
where it stopped. For runs that are dead: of one in progress it takes what there is now.
"""


def help_text() -> str:
    """Usage."""
    return HELP


def run(words: Sequence[str]) -> int:
    """See the module."""
    from gym_ray.cli.tables import print_summary

    if len(words) != 1 or words[0].startswith("-"):
        raise UserError("runs recover takes one run directory")
    print_summary(recover(run_address(words[0])))
    return DONE


def recover(address: str) -> Summary:
    """Finalise the run at ``address``. Raises UserError."""
    from gym_ray.collect.config import RunConfig
    from gym_ray.collect.output.finalize import finalize
    from gym_ray.collect.rundir import CONFIG, JOURNAL, RunDir
    from gym_ray.collect.tasks.plan import load_plan

    run = RunDir.open(address)
    plan = load_plan(run)
    if plan is None or not run.names(JOURNAL, ".seg"):
        raise UserError(f"{address}: nothing to recover, its {JOURNAL} has no rollout")
    try:
        config = RunConfig.model_validate(yaml.safe_load(run.read(CONFIG)))
    except ValidationError as error:
        raise UserError("\n".join(f"{address}/{CONFIG}: {line}" for line in explain(error))) from error
    return finalize(run, config, plan)
