"""``scripts/chaos``: runs under chaos, with a table at the end, or a soak."""

from __future__ import annotations

import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from tests.chaos.havoc.campaign import NODES, Outcome, Round
from tests.chaos.havoc.dice import Dice
from tests.chaos.havoc.nodes import cluster
from tests.chaos.havoc.soak import soak
from tests.chaos.havoc.table import campaign_table, faults, verdict_table
from tests.chaos.havoc.work import Work

HELP = """\
usage: scripts/chaos [soak] [key=value]...

A Ray of a head and four nodes on this machine. A real `gym-ray collect`, attached by address, collects multi-turn
rollouts with tools, and groups that are judged together; its agent workers, resources actors and model replicas are
spread over the nodes. Every few seconds one of driver, agent worker, resources actor, model replica or whole node is
killed (SIGKILL), by chance; a killed driver is started again, a lost node is replaced. When a run is over each row of
it is checked. Ends with a table; the exit code is 0 when nothing was lost, doubled, fabricated or thrown away.

  scripts/chaos                    40 kills, some five minutes
  scripts/chaos kills=200 per_run=70 tasks=600 every=3 seed=11
                                   the table of docs/reliability.md; 40 minutes on two busy cores
  scripts/chaos soak minutes=30    one driver that is never killed while the others are, once in a while; a sample of
                                   memory, file handles and threads every 15 s, and whether they grow

  kills=40      how many in all
  per_run=40    kills in one run; then its end is waited for, and another one begins
  every=4       mean seconds between two kills (soak: 45)
  tasks=900     tasks of the counter in one run, four rollouts each; a sixth as many groups come on top
  seed=1        of the choice of victims, and of when
  minutes=30    length of a soak
  out=DIR       where runs and samples stay; a temporary folder otherwise
"""
DEFAULTS = {"kills": "40", "per_run": "40", "every": "", "tasks": "900", "seed": "1", "minutes": "30", "out": ""}
BEGAN = time.monotonic()


def main(words: list[str]) -> int:
    """See the module."""
    if {"-h", "--help"} & set(words):
        print(HELP, end="")
        return 0
    soaking = words[:1] == ["soak"]
    settings = dict(word.partition("=")[::2] for word in words[soaking:])
    unknown = settings.keys() - DEFAULTS.keys()
    if unknown:
        print(f"scripts/chaos: no key {sorted(unknown)[0]!r}; --help lists them", file=sys.stderr)
        return 2
    settings = DEFAULTS | settings
    folder = Path(settings["out"] or tempfile.mkdtemp(prefix="chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    print(f"in {folder}, seed {settings['seed']}", flush=True)
    every_s = float(settings["every"] or (45 if soaking else 4))
    seed = int(settings["seed"])
    with cluster(NODES) as nodes:
        if soaking:
            return soak(folder, nodes, seed, float(settings["minutes"]), every_s, say)
        dice, kills, outcomes = Dice(seed, nodes), int(settings["kills"]), list[Outcome]()
        work = Work(counters=int(settings["tasks"]), groups=int(settings["tasks"]) // 6)
        while (left := kills - sum(len(outcome.recoveries) for outcome in outcomes)) > 0:
            number = len(outcomes)
            one = Round(folder / f"run-{number}", work, nodes, dice, partial(say, f"run {number}"))
            outcome = one.play(min(left, int(settings["per_run"])), every_s)
            outcomes.append(outcome)
            _tell(number, outcome)
            print(f"\n{campaign_table(outcomes)}\n\n{verdict_table(outcomes)}\n", flush=True)
    return 1 if any(map(faults, outcomes)) else 0


def say(*words: str) -> None:
    """A progress line."""
    print(f"[{time.monotonic() - BEGAN:5.0f} s]", *words, flush=True)


def _tell(number: int, outcome: Outcome) -> None:
    kills = sum(outcome.kills.values())
    say(f"run {number} over after {outcome.seconds:.0f} s, {kills} kills, {outcome.rate:.1f} rollouts/s")
    for line in [*faults(outcome), *outcome.verdict.given_up][:20]:
        say(f"run {number}", line)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
