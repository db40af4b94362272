"""``gym-ray recipe run``: a recipe as one collection, or everything that can be checked of it."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from gym_ray.cli.main import DONE, FAILED
from gym_ray.cli.recipe import Recipe, find_recipe
from gym_ray.cli.tables import output, printable

HELP = """\
usage: gym-ray recipe run NAME [--dry-run] [env=NAME,...] [model=CHOICE] [judges.NAME=CHOICE] [key=value]...

  gym-ray recipe run nemotron3_super/rlvr1 model=tiny collect=smoke     its whole shape on this machine, no GPU
  gym-ray recipe run nemotron3_nano/rlvr --dry-run                      all that can be checked without one
  gym-ray recipe run nemotron3_nano/rollout_1gpu tasks.limit=100        100 tasks of each environment on one GPU
  gym-ray recipe run nemotron3_super/rlhf env=genrm judges.genrm=openai judges.genrm.base_url=... judges.genrm.name=...

The run collects rollouts, once. A trainer that goes on drives the same recipe from outside (recipes/README.md).
With model=tiny the embedded model plays policy and judges, pools have one actor, and environments that NeMo Gym hosts
are left out. env=NAME,... keeps only those environments, with the files `gym-ray tasks prepare` made for them.
Exit codes: as gym-ray collect; --dry-run: 0 nothing is wrong, 1 something is.
"""


def help_text() -> str:
    """Usage."""
    return HELP


def run(words: Sequence[str]) -> int:
    """See the module."""
    dry = "--dry-run" in words
    recipe, _ = find_recipe([word for word in words if word != "--dry-run"], "recipe run")
    if recipe.left_out:
        print(f"left out, since NeMo Gym hosts them: {', '.join(recipe.left_out)}", file=sys.stderr)
    if dry:
        return dry_run(recipe)
    from gym_ray.cli.collect import run_collection

    return run_collection(recipe.config.run, f"gym-ray recipe run {' '.join(words)}")


def dry_run(recipe: Recipe) -> int:
    """Print every check, those that found something last."""
    from gym_ray.plan.checks import check_run
    from gym_ray.plan.plan import make_plan

    checks = sorted(check_run(recipe.config.run), key=lambda check: ("ok", "unseen", "wrong").index(check.verdict))
    console = output()
    for check in checks:
        console.print(
            f"{check.verdict:7}{printable(check.subject)}: {printable(check.note)}", soft_wrap=True, markup=False
        )
    wrong = [check.subject for check in checks if check.verdict == "wrong"]
    problems = [] if wrong else make_plan(recipe.config).problems
    for problem in problems:
        console.print(f"wrong  {problem}", soft_wrap=True)
    total = len(wrong) + len(problems)
    unseen = sum(check.verdict == "unseen" for check in checks)
    console.print(f"\n{len(checks)} checks: {total} wrong, {unseen} that cannot be seen from here", soft_wrap=True)
    return FAILED if total else DONE
