"""``gym-ray rl``: a model learns from its own rollouts."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from difflib import get_close_matches

from gym_ray.cli.arguments import Base
from gym_ray.cli.compose import compose_settings, conf_dir, group_choices, recipes_dir
from gym_ray.cli.main import DONE, INTERRUPTED
from gym_ray.cli.reference import reference
from gym_ray.integrations.grpo.settings import RlConfig
from gym_ray.types.errors import UserError

EXAMPLES = """\
usage: gym-ray rl [recipe=FAMILY/NAME] tasks=PATH rl.held_out.path=PATH [key=value]...

  gym-ray rl recipe=tiny/grpo tasks=train.jsonl rl.held_out.path=held_out.jsonl run_dir=runs/rl
  gym-ray rl env=mcqa model=tiny tasks=train.jsonl rl.held_out.path=held_out.jsonl rl.steps=20 run_dir=runs/rl

Rolls out, takes a GRPO step in torch, gives the model on Ray Serve its new weights, again; measures on the held-out
tasks now and then. The run directory gets training/seed-N/metrics.jsonl, checkpoints, the trained weights, and
curve.png. The same command goes on where it was interrupted. Needs torch, and matplotlib: pip install 'gym-ray[cpu,rl]'
"""


def help_text() -> str:
    """Examples, then every key."""
    return f"{EXAMPLES}\n{reference(RlConfig, group_choices([conf_dir()]))}"


def run(words: Sequence[str]) -> int:
    """See the module."""
    config = compose(words)
    if not config.envs:
        raise UserError("env=NAME or recipe=NAME is missing")
    if config.tasks.path is None and not all(env.tasks for env in config.envs.values()):
        raise UserError("tasks=PATH is missing: the tasks to train on")
    if config.rl.held_out.path is None:
        raise UserError("rl.held_out.path=PATH is missing: the tasks to measure on")
    from gym_ray.integrations.grpo.loop import train

    print(f"run directory: {config.run_dir}", file=sys.stderr)
    try:
        train(config)
    except KeyboardInterrupt:
        print(f"interrupted; to go on: gym-ray rl {shlex.join(words)}", file=sys.stderr)
        return INTERRUPTED
    _report(config)
    return DONE


def compose(words: Sequence[str]) -> RlConfig:
    """The settings that ``words`` ask for.

    Raises:
        UserError: one line per mistake.
    """
    name = next((word.partition("=")[2] for word in words if word.startswith("recipe=")), None)
    words = [word for word in words if not word.startswith("recipe=")]
    if not any(word.startswith("run_dir=") for word in words):
        words = [*words, f"run_dir=runs/{(name or 'rl').replace('/', '-')}"]
    return compose_settings(words, RlConfig, _base(name) if name else Base())[0]


def recipe_names() -> list[str]:
    """Recipes of a training, sorted."""
    files = sorted(recipes_dir().glob("*/*.yaml"))
    return [f"{file.parent.name}/{file.stem}" for file in files if "\nrl:" in file.read_text()]


def _base(name: str) -> Base:
    known = recipe_names()
    if name not in known:
        near = get_close_matches(name, known, 1)
        hint = f"nearest: {near[0]}" if near else f"there are: {', '.join(known)}"
        raise UserError(f"recipe={name}: no such training; {hint}")
    plain, _ = compose_settings(["run_dir=unused"], RlConfig, Base(name))
    return Base(name, tuple(plain.envs), tuple(plain.judges))


def _report(config: RlConfig) -> None:
    from gym_ray.collect.rundir import RunDir
    from gym_ray.integrations.grpo.curve import CURVE, held_out
    from gym_ray.integrations.grpo.record import read_lines

    run = RunDir.open(config.run_dir)
    print("seed   before   after   best   (mean reward on the held-out tasks)")
    for seed in config.rl.seeds:
        curve = held_out(read_lines(run, seed))
        print(f"{seed:4}   {curve[min(curve)]:6.3f}  {curve[max(curve)]:6.3f}  {max(curve.values()):5.3f}")
    print(f"{config.run_dir}/{CURVE}")
