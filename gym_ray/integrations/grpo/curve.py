"""The curve of a training: reward over steps, each seed and their mean."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from statistics import fmean

from gym_ray.collect.rundir import RunDir
from gym_ray.integrations.grpo.record import Line

CURVE = "curve.png"
INCHES, DPI = (8.0, 4.5), 130


def held_out(lines: Sequence[Line]) -> dict[int, float]:
    """Step -> mean reward on the held-out tasks."""
    return {line["step"]: line["held_out"] for line in lines if "held_out" in line}


def mean_over_seeds(curves: Sequence[Mapping[int, float]]) -> dict[int, float]:
    """The mean at every step that all of them have."""
    common = sorted(set.intersection(*(set(curve) for curve in curves))) if curves else []
    return {step: fmean(curve[step] for curve in curves) for step in common}


def plot(run: RunDir, seeds: Mapping[int, Sequence[Line]]) -> None:
    """Draw ``curve.png``: thin what each step was trained on, thick what was held out. ``seeds``: metrics by seed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=INCHES, dpi=DPI, layout="constrained")
    axes = figure.add_subplot(xlabel="training step", ylabel="mean reward")
    curves = []
    for place, (seed, lines) in enumerate(sorted(seeds.items())):
        trained = [(line["step"], line["reward"]) for line in lines if "reward" in line]
        if not lines:
            continue
        curves.append(held_out(lines))
        if trained:
            axes.plot(*zip(*trained, strict=True), color=f"C{place}", alpha=0.25, linewidth=1)
        steps, rewards = zip(*sorted(curves[-1].items()), strict=True)
        axes.plot(steps, rewards, color=f"C{place}", marker="o", label=f"seed {seed}, held-out tasks")
    if len(curves) > 1:
        mean = mean_over_seeds(curves)
        axes.plot(list(mean), list(mean.values()), color="black", linestyle="--", label="mean of the seeds")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    run.write(CURVE, buffer.getvalue())
