"""The watchdog: says so when nothing finishes, and shows what is in the air and where it hangs."""

from __future__ import annotations

from gym_ray.collect.tally import Tally


class Watchdog:
    """A pure state machine over looks at the tally; quiet while rollouts finish."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._finished = -1
        self._since = 0.0

    def look(self, now: float, tally: Tally) -> str | None:
        """Returns a report each time ``patience_s`` seconds have passed without a finished rollout."""
        if tally.finished != self._finished:
            self._finished, self._since = tally.finished, now
            return None
        if now - self._since < self._patience_s:
            return None
        self._since = now
        return _table(self._patience_s, tally)


def _table(patience_s: float, tally: Tally) -> str:
    lines = [f"no rollout finished for {patience_s:g} s; {tally.in_flight} in flight, {tally.waiting} waiting"]
    lines += [
        f"  {flight.rollout_id}: in {flight.stage} for {flight.age_s:.0f} s (worker {flight.worker[:8]})"
        for flight in tally.oldest[:20]
    ]
    if not tally.oldest:
        lines.append("  nothing is in the air: Ray may be waiting for CPUs (see `ray status`)")
    return "\n".join(lines)
