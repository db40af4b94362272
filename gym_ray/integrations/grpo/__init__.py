"""A GRPO learner in plain torch on our own trajectories, and the loop that closes it: ``gym-ray rl``."""
