"""NeMo-RL's own code on what gym_ray gives it: ``scripts/test_nemo_rl CHECKOUT``."""
