"""Intervals and tests: Wilson's score, Student's t, sign-flip permutation, Holm's correction.

Tasks are the independent observations: rollouts of one task are alike, so every function here is given one
number per task, never one per rollout. The interval of numbers that have bounds never leaves them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

CONFIDENCE = 0.95
NORMAL = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)
_EXACT = 1 << 14
_FLIPS, _DRAWS = 20_000, 40_000_000
_TINY = 1e-300


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over ``tasks`` with its 95 % interval. ``low`` and ``high`` are None below two tasks."""

    mean: float
    low: float | None
    high: float | None
    tasks: int


@dataclass(slots=True)
class Moments:
    """Mean and spread of numbers seen one by one (Welford).

    ``least``, ``most``: the bounds that they are taken to have, until one lies outside.
    """

    least: float = 0.0
    most: float = 1.0
    bounded: bool = True
    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, value: float) -> None:
        """See one more."""
        self.bounded = self.bounded and self.least <= value <= self.most
        self.count += 1
        apart = value - self.mean
        self.mean += apart / self.count
        self.squares += apart * (value - self.mean)

    def estimate(self) -> Estimate | None:
        """The interval of the mean, Wilson's within bounds, else Student's; None when nothing was seen."""
        if self.count < 2:
            return Estimate(self.mean, None, None, self.count) if self.count else None
        variance = self.squares / (self.count - 1) / self.count
        t = t_quantile(0.5 + CONFIDENCE / 2, self.count - 1)
        if not self.bounded:
            reach = t * math.sqrt(variance)
            return Estimate(self.mean, self.mean - reach, self.mean + reach, self.count)
        span = self.most - self.least
        share = min(1.0, max(0.0, (self.mean - self.least) / span))
        low, high = wilson(share, variance / span**2, self.count, t)
        return Estimate(self.mean, self.least + low * span, self.least + high * span, self.count)


def wilson(share: float, variance: float, count: int, t: float) -> tuple[float, float]:
    """Wilson's score interval of a share (Wilson 1927) that was measured on ``count`` clusters.

    ``variance``: of the share. In the place of n stands the number of independent draws that would have this variance,
    and in that of the normal quantile Student's ``t`` (Dean & Pagano 2015; Franco, Little, Louis & Slud 2019). Where
    all clusters say 0, or all 1, no variance is estimated: each counts as one draw, and the quantile is the normal one.
    0 <= low <= share <= high <= 1.
    """
    spread = share * (1 - share)
    if variance == 0.0 and spread:
        return share, share
    weight = t * t * variance / spread if spread else NORMAL**2 / count
    centre = (share + weight / 2) / (1 + weight)
    reach = math.sqrt(weight * spread + weight * weight / 4) / (1 + weight)
    return max(0.0, min(share, centre - reach)), min(1.0, max(share, centre + reach))


def t_cdf(t: float, freedom: int) -> float:
    """Student's distribution function, by the regularised incomplete beta function. ``freedom`` >= 1."""
    tail = 0.5 * _beta(freedom / (freedom + t * t), freedom / 2, 0.5)
    return 1.0 - tail if t > 0 else tail


def t_quantile(p: float, freedom: int) -> float:
    """Inverse of :func:`t_cdf` for ``0.5 <= p < 1``, by bisection to full double precision."""
    low, high = 0.0, 1.0
    while t_cdf(high, freedom) < p:
        low, high = high, high * 2
    for _ in range(64):
        middle = (low + high) / 2
        low, high = (middle, high) if t_cdf(middle, freedom) < p else (low, middle)
    return (low + high) / 2


def _beta(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function I_x(a, b); the fraction converges fast on one side only."""
    if x <= 0.0 or x >= 1.0:
        return 0.0 if x <= 0.0 else 1.0
    if x > (a + 1) / (a + b + 2):
        return 1.0 - _beta(1.0 - x, b, a)
    logs = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    return math.exp(logs) / a / _fraction(x, a, b)


def _fraction(x: float, a: float, b: float) -> float:
    """The continued fraction 1 + d1/(1 + d2/(1 + ...)) of DLMF 8.17.22, by Lentz's method."""
    value, upper, lower = 1.0, 1.0, 0.0
    for step in range(1, 500):
        m, odd = divmod(step, 2)
        if odd:
            term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        lower = 1.0 / ((1.0 + term * lower) or _TINY)
        upper = (1.0 + term / upper) or _TINY
        value *= upper * lower
        if abs(upper * lower - 1.0) < 1e-15:
            break
    return value


def sign_flip_p(differences: Sequence[float], seed: int = 0) -> float:
    """Two-sided p of "the pairs' order does not matter": how often random signs give a sum as far from 0.

    All signs are tried while that is few (up to 2**14), else random ones; equal differences are drawn together, as
    one binomial. The observed one counts as one of the random ones, so p is never 0.
    """
    values = np.abs(np.asarray(differences, np.float64))
    values = values[values > 0]
    if not len(values):
        return 1.0
    observed = abs(float(np.sum(differences))) * (1 - 1e-12)
    if 1 << min(len(values), 60) <= _EXACT:
        signs = 1 - 2 * ((np.arange(1 << len(values))[:, None] >> np.arange(len(values))) & 1)
        return float(np.mean(np.abs(signs @ values) >= observed))
    distinct, counts = np.unique(values, return_counts=True)
    flips = int(min(_FLIPS, max(1000, _DRAWS // len(distinct))))
    random, sums = np.random.default_rng(seed), np.zeros(flips)
    for value, count in zip(distinct, counts, strict=True):
        sums += value * (2.0 * random.binomial(count, 0.5, flips) - count)
    return float((1 + np.count_nonzero(np.abs(sums) >= observed)) / (1 + flips))


def holm(p_values: Sequence[float]) -> list[float]:
    """The same tests' p after Holm's correction, in the given order (Holm 1979: valid however they depend)."""
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    corrected, worst = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        worst = max(worst, min(1.0, p_values[place] * (len(p_values) - rank)))
        corrected[place] = worst
    return corrected


@dataclass(slots=True)
class Correlation:
    """Pearson's correlation of pairs seen one by one."""

    count: int = 0
    mean_x: float = 0.0
    mean_y: float = 0.0
    xx: float = 0.0
    yy: float = 0.0
    xy: float = 0.0

    def add(self, x: float, y: float) -> None:
        """See one more pair."""
        self.count += 1
        apart_x, apart_y = x - self.mean_x, y - self.mean_y
        self.mean_x += apart_x / self.count
        self.mean_y += apart_y / self.count
        self.xx += apart_x * (x - self.mean_x)
        self.yy += apart_y * (y - self.mean_y)
        self.xy += apart_x * (y - self.mean_y)

    @property
    def value(self) -> float | None:
        """Between -1 and 1; None when one of the two never varies."""
        scale = math.sqrt(self.xx * self.yy)
        return self.xy / scale if scale > 1e-12 * max(1.0, self.count) else None
