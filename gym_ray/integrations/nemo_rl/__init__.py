"""NeMo-RL trains on rollouts made here: our actor takes the place of its NeMo Gym actor (docs/nemo_rl.md).

What runs in the actor, and in whoever imports this package, needs neither torch nor ``nemo_rl``. Two modules do touch
NeMo-RL, and only in a process that is NeMo-RL's own: ``launch`` and ``datasets``.
"""

from gym_ray.integrations.nemo_rl.launch import install

__all__ = ["install"]
