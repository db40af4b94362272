"""The tables that a campaign ends with, in Markdown."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median

from tests.chaos.havoc.campaign import Outcome
from tests.chaos.havoc.dice import WEIGHTS
from tests.chaos.havoc.ledger import Recovery


def campaign_table(outcomes: list[Outcome]) -> str:
    """One line per kind of kill, and all together."""
    recoveries = [one for outcome in outcomes for one in outcome.recoveries]
    lines = [
        "| killed | times | median s to the next finished rollout | worst | median s until throughput is back |",
        "|---|---|---|---|---|",
    ]
    for kind in WEIGHTS:
        its = [one for one in recoveries if one.kind == kind]
        lines.append(f"| {kind} | {len(its)} | {_times(its)} |")
    lines.append(f"| **all** | **{len(recoveries)}** | {_times(recoveries)} |")
    return "\n".join(lines)


def verdict_table(outcomes: list[Outcome]) -> str:
    """What became of the rows, over all runs."""
    verdicts = [outcome.verdict for outcome in outcomes]
    died, again = (sum(outcome.remade[which] for outcome in outcomes) for which in (0, 1))
    rows = sum(verdict.rows for verdict in verdicts)
    counts = {
        "runs": len(outcomes),
        "rollouts asked for and there": rows,
        "lost": sum(len(verdict.lost) for verdict in verdicts),
        "doubled": sum(len(verdict.doubled) for verdict in verdicts),
        "fabricated": sum(len(verdict.fabricated) for verdict in verdicts),
        "finished rollouts thrown away": sum(outcome.thrown_away for outcome in outcomes),
        "given up (failed or masked, with a reason)": sum(len(verdict.given_up) for verdict in verdicts),
        "in the air when their worker died, made again": died,
        "second records in a journal, left out": sum(outcome.doubled_records for outcome in outcomes),
        "tried again after their session was lost": again,
        "drivers that ended by themselves": sum(len(outcome.endings) for outcome in outcomes),
    }
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {count} |" for name, count in counts.items())])


def faults(outcome: Outcome) -> list[str]:
    """What must not be: everything but time that the kills have cost, one line each."""
    verdict = outcome.verdict
    found = [f"lost: {key}" for key in verdict.lost] + [f"doubled: {key}" for key in verdict.doubled]
    found += [f"fabricated: {what}" for what in verdict.fabricated]
    found += [f"thrown away: {outcome.thrown_away} finished rollouts"] * (outcome.thrown_away > 0)
    return found


def _times(recoveries: Iterable[Recovery]) -> str:
    its = list(recoveries)
    following = [one.next_s for one in its if one.next_s is not None]
    back = [one.back_s for one in its if one.back_s is not None]
    shown = [f"{pick(times):.1f}" if times else "" for pick, times in ((median, following), (max, following))]
    return " | ".join([*shown, f"{median(back):.1f} ({len(back)} of {len(its)})" if back else ""])
