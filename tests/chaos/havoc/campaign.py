"""A campaign: runs on one cluster, one after the other, while somebody is killed every few seconds.

A run that is over is judged row by row (``work``, ``ledger``). A driver that was killed is started again with the same
words, as its user would do; a node that was lost is replaced after a while. A driver that ends by itself with anything
but success is a fault, and is told.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.command import Collection
from tests.chaos.havoc.dice import Dice
from tests.chaos.havoc.ledger import Ledger, Recovery
from tests.chaos.havoc.nodes import Nodes
from tests.chaos.havoc.work import GROUP, Verdict, Work, judge

NODES = 4
REPLACED_S = (1.0, 6.0)
"""A lost node's replacement joins after so many seconds."""
RECOVERS = 0.75
"""Share of the kills after which the next one waits until a rollout has finished. The others may hit what is still
coming up, but on a slow machine nothing but these would ever be hit."""
STALLED_S = 420.0
"""A run in which nothing finishes for so long has failed."""


@dataclass
class Outcome:
    """What came of one run. ``endings``: how drivers ended that nobody killed, but for the last."""

    kills: Counter[str]
    verdict: Verdict
    thrown_away: int
    remade: tuple[int, int]
    doubled_records: int
    rate: float
    recoveries: list[Recovery]
    seconds: float
    endings: list[str] = field(default_factory=list)


def words_of(folder: Path, work: Work) -> list[str]:
    """The command line of a run under chaos."""
    return [
        *work.write(folder),
        "model=vllm",
        "model.name=player",
        "model.serve.path=null",
        "model.serve.engine=tests.chaos.havoc.model:Player",
        "model.serve.num_replicas=2",
        "model.serve.num_cpus=0.1",
        "model.serve.num_gpus=0",
        "collect.num_agents=2",
        "collect.agent_cpus=0.1",
        "collect.in_flight=4",
        "collect.block_rollouts=16",
        f"collect.rollouts_per_task={GROUP}",
        "collect.max_failed_fraction=1.0",
    ]


class Round:
    """One run from its first start to its end, through any number of kills.

    ``every_s``: mean seconds between two kills. ``say``: told what happens.
    """

    def __init__(self, folder: Path, work: Work, nodes: Nodes, dice: Dice, say: Callable[[str], None]) -> None:
        folder.mkdir(parents=True)
        self._work, self._nodes, self._dice, self._say = work, nodes, dice, say
        self._run = Collection(folder, words_of(folder, work), nodes.address)
        self.ledger = Ledger(self._run.directory)
        self._due_nodes: list[float] = []
        self._endings: list[str] = []
        self._progress, self._look_at = (0, time.monotonic()), 0.0

    def play(self, kills: int, every_s: float) -> Outcome:
        """Let the run end, with up to ``kills`` kills on the way."""
        began = time.monotonic()
        with ExitStack() as stack:
            stack.callback(self._run.__exit__)
            self._run.__enter__()
            self._wait_for_more()
            for _ in range(kills):
                if not self._rest(self._dice.random.uniform(0.2, 1.8) * every_s):
                    break
                self._strike()
                if self._dice.random.random() < RECOVERS:
                    self._wait_for_more()
            while self._rest(2.0):
                pass
        return self.outcome(time.monotonic() - began)

    def _strike(self) -> None:
        durable = self.ledger.note()
        hit = None
        while hit is None:
            hit = self._dice.kill(self._run.__exit__)
        kind, at = hit
        self.ledger.killed(kind, at, durable)
        self._say(f"{kind} killed, {durable} durable")
        if kind == "node":
            self._due_nodes.append(time.monotonic() + self._dice.random.uniform(*REPLACED_S))
        if kind == "driver":
            self._run.__enter__()

    def _rest(self, seconds: float) -> bool:
        """Wait, replace nodes, start a driver again that gave up; False when the run is over."""
        until = time.monotonic() + seconds
        while True:
            if self._due_nodes and min(self._due_nodes) < time.monotonic():
                self._due_nodes.remove(min(self._due_nodes))
                self._nodes.add()
            assert self._run.process is not None
            code = self._run.process.poll()
            if code == 0:
                return False
            if code is not None:
                last = [line for line in self._run.log.read_text().splitlines() if line.strip()][-1:]
                self._endings.append(f"exit {code}: {' '.join(last)[:300]}")
                self._say(f"the driver ended by itself, {self._endings[-1]}")
                assert len(self._endings) < 10, "the driver keeps ending"
                self._run.__enter__()
            self._check_progress()
            if time.monotonic() > until:
                return True
            time.sleep(0.1)

    def _check_progress(self) -> None:
        now = time.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + 10.0
        durable, (before, since) = self.ledger.note(), self._progress
        if durable > before:
            self._progress = durable, now
        log = self._run.log.read_text()[-3000:]
        assert now - since < STALLED_S, f"nothing finished for {now - since:.0f} s\n{log}"

    def _wait_for_more(self) -> None:
        before = self.ledger.note()
        while self.ledger.note() == before and self._rest(0.2):
            pass

    def outcome(self, seconds: float, *, whole: bool = True) -> Outcome:
        """Judge the run, now that it is over. ``whole``: it had the time to make everything."""
        while self._due_nodes:
            self._due_nodes.pop()
            self._nodes.add()
        rate, recoveries = self.ledger.recoveries()
        return Outcome(
            kills=Counter(kill.kind for kill in self.ledger.kills),
            verdict=judge(self._run.directory, self._work, whole=whole),
            thrown_away=len(self.ledger.thrown_away()),
            remade=self.ledger.remade(),
            doubled_records=self.ledger.doubled_records(),
            rate=rate,
            recoveries=recoveries,
            seconds=seconds,
            endings=self._endings,
        )
