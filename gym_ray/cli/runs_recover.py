"""``gym-ray runs recover``: what a dead run left, made into shards."""

from __future__ import annotations

from collections.abc import Sequence

from gym_ray.cli.main import DONE
from gym_ray.cli.runs_show import run_address
from gym_ray.types.errors import UserError

HELP = """\
usage: gym-ray runs recover RUN

The journal of RUN has every rollout that was finished before it died. This makes shards, metrics and a manifest of
them, so that RUN can be profiled, viewed and exported. Nothing is lost by it: the same collect command still goes on
where it stopped. For runs that are dead: of one in progress it takes what there is now.

RUN may also be the directory of a trainer's live rollouts (docs/service.md, gym-ray rl, NeMo-RL): they have no plan and
no shards, and get both. A rollout counts as planned when it was begun.
"""


def help_text() -> str:
    """Usage."""
    return HELP


def run(words: Sequence[str]) -> int:
    """See the module."""
    if len(words) != 1 or words[0].startswith("-"):
        raise UserError("runs recover takes one run directory")
    address = run_address(words[0])

    from gym_ray.cli.tables import print_summary
    from gym_ray.runs.recover import recover  # loads Ray, which `--help` does not need

    print_summary(recover(address))
    return DONE
