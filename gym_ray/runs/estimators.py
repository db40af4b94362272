"""What k rollouts of one task are worth, estimated from the n that were scored. Pure functions of counts.

Invariant: a group is judged by its own rollouts. Where fewer than k were scored, k is taken as that number:
then ``pass_at`` is a lower bound and ``pass_all`` an upper one, no task leaves the average, and a lost rollout can
never raise pass@k. (Leaving short groups out would: it removes the tasks whose rollouts fail.)

Sources: pass@k from Chen et al. 2021, "Evaluating Large Language Models Trained on Code"; pass^k from Yao et
al. 2024, "tau-bench"; both the exact expectation over which k of the n rollouts are drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import comb


def pass_at(n: int, c: int, k: int) -> float:
    """Probability that one of k rollouts or more succeeds: ``1 - C(n-c, k) / C(n, k)``, of n with c successes.

    Raises:
        ValueError: not ``0 <= c <= n``, ``n >= 1`` and ``k >= 1``.
    """
    k = _drawn(n, c, k)
    return 1.0 - comb(n - c, k) / comb(n, k)


def pass_all(n: int, c: int, k: int) -> float:
    """Probability that all of k rollouts succeed (pass^k): ``C(c, k) / C(n, k)``. Raises ValueError likewise."""
    k = _drawn(n, c, k)
    return comb(c, k) / comb(n, k)


def _drawn(n: int, c: int, k: int) -> int:
    if not (0 <= c <= n and n >= 1 and k >= 1):
        raise ValueError(f"no such group: n={n}, c={c}, k={k}")
    return min(n, k)


def majority_at(votes: Sequence[tuple[str | None, bool]], k: int) -> float | None:
    """Success of the answer that most of the first k rollouts gave; ``votes``: (answer, success), in order.

    Who gave no answer does not vote. Ties share; rollouts of one answer that were judged differently count by
    their mean. None when nobody answered: that is no success either, and is told apart.
    """
    counted: dict[str, list[bool]] = {}
    for answer, success in votes[:k]:
        if answer is not None:
            counted.setdefault(answer, []).append(success)
    if not counted:
        return None
    most = max(map(len, counted.values()))
    winners = [sum(its) / most for its in counted.values() if len(its) == most]
    return sum(winners) / len(winners)
