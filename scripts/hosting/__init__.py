"""NeMo Gym's servers in our actors, held against the rollouts recorded beside them (``scripts/test_nemo_gym``)."""
