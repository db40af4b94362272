"""The overhead benchmark: what gym_ray itself costs, with the model's and the environment's work taken away."""
