"""What a run amounts to, as NeMo Evaluator writes it into ``results.yml``.

Tasks are the independent observations: every statistic is over one mean per task, however many rollouts it has.
Masked and failed rollouts are in no mean; they are counted beside, as the metric ``rollouts``.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, pvariance, stdev

from nemo_evaluator.api.api_dataclasses import EvaluationResult, MetricResult, Score, ScoreStats, TaskResult

from gym_ray.runs.groups import read_groups
from gym_ray.runs.measure import Measured
from gym_ray.runs.profile import THRESHOLD
from gym_ray.types.outcome import Outcome

RUN = "run"
"""Below the output directory: where ``framework.yml`` has the run made."""


def parse_output(output_dir: str) -> EvaluationResult:
    """One task per environment: ``reward``, ``success`` (shares of full rewards), ``rollouts`` (by outcome).

    Raises:
        RuntimeError: an environment has no scored rollout, so there is no score.
    """
    environments: dict[str, list[Measured]] = {}
    for group in read_groups(str(Path(output_dir) / RUN), prompts=False):
        environments.setdefault(group.environment, []).append(Measured(group, THRESHOLD))
    return EvaluationResult(tasks={name: _task(name, groups) for name, groups in environments.items()})


def _task(name: str, groups: Sequence[Measured]) -> TaskResult:
    scored = [group for group in groups if group.scored]
    if not scored:
        raise RuntimeError(f"gym_ray: no rollout of {name} was scored")
    outcomes = Counter(row.outcome for group in groups for row in group.rows)
    counts = {str(outcome): Score(value=outcomes[outcome], stats=ScoreStats()) for outcome in Outcome}
    # Neither is None in a group with a scored rollout.
    means = {
        "reward": [group.mean_reward or 0.0 for group in scored],
        "success": [group.pass_rate or 0.0 for group in scored],
    }
    metrics = {what: MetricResult(scores={what: _score(values)}) for what, values in means.items()}
    return TaskResult(metrics={**metrics, "rollouts": MetricResult(scores=counts)})


def _score(values: Sequence[float]) -> Score:
    mean, variance, count = fmean(values), pvariance(values), len(values)
    stats = ScoreStats(
        count=count,
        sum=math.fsum(values),
        sum_squared=math.fsum(value * value for value in values),
        min=min(values),
        max=max(values),
        mean=mean,
        variance=variance,
        stddev=math.sqrt(variance),
        stderr=stdev(values) / math.sqrt(count) if count > 1 else None,
    )
    return Score(value=mean, stats=stats)
