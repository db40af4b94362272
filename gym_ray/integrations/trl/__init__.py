"""Hugging Face TRL: rollouts for ``GRPOTrainer``. Needs ``gym-ray[trl]``."""

from gym_ray.integrations.trl.rollouts import TrlRollouts as TrlRollouts
