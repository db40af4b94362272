"""The parts of ``scripts/rl_tiny``."""
