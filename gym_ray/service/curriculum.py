"""Which task next, and which finished groups are worth training on.

Everything here is a value or a pure function of its arguments and a seed: :class:`PassRates` remembers how
often each task was solved lately, a sampler turns that into weights, :class:`Gates` turns groups away.

A pass rate is the mean reward of a task's scored rollouts, each clipped to 0..1. Older groups count less and
less, since the policy changes: a group's weight is multiplied by ``memory`` with each later group of its task.

Sources: a Gaussian over pass rate whose mean moves from easy to hard, at a fixed ratio of domains, is how the
Nemotron 3 Nano report orders its RLVR data; groups without variance of reward give GRPO no gradient and are
dropped and drawn anew in DAPO (Yu et al., 2025, "dynamic sampling").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from gym_ray.types.settings import Settings

Floats = NDArray[np.float64]
FLOOR = 1e-12
"""Weight of a task that the sampler does not want, so that there is always one to draw."""
BUSY = 0.5
"""How much less a task is wanted for each group of it that is in the air or waiting."""
VARIANCE = 1e-8
"""Rewards that differ by less are equal (they may be sums of components)."""


class CurriculumConfig(Settings):
    """How tasks are drawn and groups admitted (``curriculum.*``)."""

    sampler: Literal["uniform", "window", "gaussian"] = "uniform"
    """uniform: each task once, in random order, then again. window: those with a pass rate inside `window`.
    gaussian: by distance of the pass rate from a centre that moves from `start` to `end`."""
    window: tuple[float, float] = (0.1, 0.9)
    """Pass rates that the sampler `window` draws, both ends included. Tasks never tried are drawn too."""
    start: float = 0.9
    """Centre of the sampler `gaussian` at policy version 0: high is easy."""
    end: float = 0.1
    """Its centre from version `steps` on."""
    steps: int = 1000
    """Policy versions on the way from `start` to `end`, in equal steps."""
    width: float = 0.2
    """Its standard deviation."""
    unknown: float = 0.5
    """Pass rate that tasks never tried are taken to have (gaussian)."""
    mix: dict[str, float] = Field(default_factory=dict)
    """Shares of environments among drawn tasks (`{math: 3, mcqa: 1}`). Empty: by their numbers of tasks."""
    memory: float = 0.5
    """What a group still counts after one more group of its task: 0 forgets, 1 never does."""
    seed: int = 0
    """Seed of all draws."""
    drop_zero_variance: bool = False
    """Drop groups whose scored rollouts all have one reward."""
    admit: tuple[float, float] | None = None
    """Drop groups whose own pass rate is outside of these, both ends included."""


class PassRates:
    """Pass rates and draws of tasks, by slot. Two numbers and a counter per task.

    ``memory``: see :class:`CurriculumConfig`.
    """

    def __init__(self, memory: float) -> None:
        self._memory = memory
        self._slots: dict[str, int] = {}
        self._weight, self._total = np.zeros(0), np.zeros(0)
        self.visits = np.zeros(0, np.int64)

    def slots(self, keys: Sequence[str]) -> NDArray[np.int64]:
        """Slots of tasks (``environment/task id``); new ones are made."""
        found = [self._slots.setdefault(key, len(self._slots)) for key in keys]
        more = len(self._slots) - len(self.visits)
        self._weight, self._total = np.pad(self._weight, (0, more)), np.pad(self._total, (0, more))
        self.visits = np.pad(self.visits, (0, more))
        return np.array(found, np.int64)

    def observe(self, key: str, rewards: Sequence[float]) -> None:
        """One group of a task came back. ``rewards``: of its scored rollouts."""
        [slot] = self.slots([key])
        self._weight[slot] = self._weight[slot] * self._memory + len(rewards)
        self._total[slot] = self._total[slot] * self._memory + sum(min(1.0, max(0.0, reward)) for reward in rewards)

    def rates(self, slots: NDArray[np.int64]) -> Floats:
        """Pass rates, NaN for tasks never scored."""
        with np.errstate(invalid="ignore"):
            found: Floats = self._total[slots] / np.where(self._weight[slots] > 0, self._weight[slots], np.nan)
        return found

    def rate(self, key: str) -> float | None:
        """One task's pass rate, None when it was never scored."""
        slot = self._slots.get(key)
        return float(self._total[slot] / self._weight[slot]) if slot is not None and self._weight[slot] else None

    def dump(self) -> dict[str, Any]:
        """All of it, as JSON values."""
        columns = {"weight": self._weight, "total": self._total, "visits": self.visits}
        return {"keys": list(self._slots), **{name: column.tolist() for name, column in columns.items()}}

    def load(self, dumped: dict[str, Any]) -> None:
        """Take over what :meth:`dump` gave."""
        self._slots = {key: slot for slot, key in enumerate(dumped["keys"])}
        self._weight, self._total = np.array(dumped["weight"], float), np.array(dumped["total"], float)
        self.visits = np.array(dumped["visits"], np.int64)


def centre(config: CurriculumConfig, step: int) -> float:
    """Where the Gaussian's mean is at policy version ``step``."""
    return config.start + (config.end - config.start) * min(1.0, step / max(1, config.steps))


def weights(config: CurriculumConfig, rates: Floats, visits: NDArray[np.int64], step: int) -> Floats:
    """How much each task is wanted, at least ``FLOOR``. ``rates``: NaN where unknown."""
    if config.sampler == "uniform":
        return np.where(visits == visits.min(initial=np.iinfo(np.int64).max), 1.0, FLOOR)
    if config.sampler == "window":
        low, high = config.window
        return np.where(np.isnan(rates) | ((rates >= low) & (rates <= high)), 1.0, FLOOR)
    known = np.where(np.isnan(rates), config.unknown, rates)
    wanted: Floats = np.exp(-0.5 * ((known - centre(config, step)) / config.width) ** 2)
    return np.maximum(wanted, FLOOR)


class Pool:
    """Draws tasks. ``environments``, ``task_ids``: of each task, by position."""

    def __init__(
        self, config: CurriculumConfig, rates: PassRates, environments: Sequence[str], task_ids: Sequence[str]
    ) -> None:
        self._config, self._rates = config, rates
        keys = [f"{environment}/{task_id}" for environment, task_id in zip(environments, task_ids, strict=True)]
        self._slots = rates.slots(keys)
        names = sorted(set(environments))
        where = np.array([names.index(name) for name in environments])
        self._positions = {name: np.flatnonzero(where == place) for place, name in enumerate(names)}
        share = {name: config.mix.get(name, 0.0) if config.mix else float(len(self._positions[name])) for name in names}
        whole = sum(share.values())
        self._share = {name: part / whole for name, part in share.items() if part > 0} if whole else {}
        self.drawn = dict.fromkeys(self._share, 0)
        """Draws so far, by environment: with the seed, all that draws depend on besides pass rates."""

    def __len__(self) -> int:
        return sum(len(self._positions[name]) for name in self._share)

    def draw(self, step: int, busy: Sequence[int] = ()) -> int:
        """The position of the next task. ``busy``: positions of tasks that are in the air or waiting."""
        number = sum(self.drawn.values())
        name = max(self._share, key=lambda one: self._share[one] * (number + 1) - self.drawn[one])
        positions = self._positions[name]
        slots = self._slots[positions]
        wanted = weights(self._config, self._rates.rates(slots), self._rates.visits[slots], step)
        if busy:
            open_groups = np.bincount(np.array(busy, np.int64), minlength=int(positions[-1]) + 1)[positions]
            wanted = wanted * BUSY**open_groups
        dice = np.random.default_rng([self._config.seed, number])
        chosen = int(np.searchsorted(np.cumsum(wanted), dice.random() * wanted.sum(), side="right"))
        position = int(positions[min(chosen, len(positions) - 1)])
        self.drawn[name] += 1
        self._rates.visits[self._slots[position]] += 1
        return position


def refusal(config: CurriculumConfig, rewards: Sequence[float]) -> str | None:
    """Why a group is not worth training on, None when it is. ``rewards``: of its scored rollouts."""
    if not rewards:
        return "masked"
    if config.admit is not None:
        low, high = config.admit
        rate = sum(min(1.0, max(0.0, reward)) for reward in rewards) / len(rewards)
        if not low <= rate <= high:
            return "too_hard" if rate < low else "too_easy"
    if config.drop_zero_variance and max(rewards) - min(rewards) < VARIANCE:
        return "zero_variance"
    return None
