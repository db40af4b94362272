"""Running on clusters: jobs on a Ray that is there, and launch files that bring one up.

``submit`` and ``resume`` speak to a running Ray; ``render`` writes what Kubernetes, Slurm or Ray's own launcher
reads. Both take a :class:`~gym_ray.cluster.config.ClusterConfig` and the words of a command, and know neither Hydra
nor what the command does.
"""
