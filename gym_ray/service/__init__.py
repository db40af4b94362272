"""Live rollouts for trainers: agent workers that are fed at any time, and a service that remembers what it owes."""
