"""Mathematics graded by a library first, and by a judge where that finds no equality."""

from gym_ray.environments.math_with_judge.server import MathWithJudge as MathWithJudge
