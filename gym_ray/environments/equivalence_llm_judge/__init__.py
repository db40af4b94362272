"""Short answers that a judge compares with the expected one."""

from gym_ray.environments.equivalence_llm_judge.server import EquivalenceJudge as EquivalenceJudge
