"""``gym-ray report``: a run as one page that opens anywhere."""

from __future__ import annotations

from collections.abc import Sequence

from gym_ray.cli.main import DONE
from gym_ray.cli.profile import Parser, parse_thresholds
from gym_ray.cli.runs_show import run_address
from gym_ray.cli.tables import output
from gym_ray.runs.report.sample import ROLLOUTS
from gym_ray.runs.report.write import write_report
from gym_ray.types.errors import UserError

HELP = f"""\
usage: gym-ray report RUN [--rollouts N] [--threshold [ENV=]REWARD]... [--tokenizer DIR]

  gym-ray report runs/demo                      writes runs/demo/report.html
  gym-ray report runs/demo --rollouts 200       a smaller file
  gym-ray report runs/demo --tokenizer /models/mine

One self-contained file, nothing fetched from outside: rewards, pass@k, time, failures with their reasons, and a
browser of trajectories. Numbers are of all rollouts; up to N (default {ROLLOUTS:,}) are held in full, whole groups, and
the page says how they were chosen. --threshold: as for gym-ray profile. --tokenizer: the folder of a tokenizer.json, if
that is not the run's own model on this machine; without one, token ids are shown.
"""


def help_text() -> str:
    """Usage."""
    return HELP


def run(words: Sequence[str]) -> int:
    """See the module."""
    parser = Parser("report", add_help=False, allow_abbrev=False)
    parser.add_argument("run")
    parser.add_argument("--rollouts", default=str(ROLLOUTS))
    parser.add_argument("--threshold", action="append", default=[])
    parser.add_argument("--tokenizer")
    given = parser.parse_args(list(words))
    if not given.rollouts.isdecimal() or int(given.rollouts) < 1:
        raise UserError(f"--rollouts {given.rollouts}: a whole number from 1 on")
    address = run_address(given.run)
    thresholds = parse_thresholds(given.threshold, address)
    made = write_report(address, thresholds, int(given.rollouts), given.tokenizer)
    held = f"{made['rollouts']:,} of {made['of']:,} rollouts in full, {made['bytes'] / 1e6:,.1f} MB"
    output().print(f"{made['path']}: {held}", soft_wrap=True, markup=False)
    return DONE
