"""Open-ended answers that a judge holds against a rubric, point by point."""

from gym_ray.environments.rubric_judge.server import RubricJudge as RubricJudge
