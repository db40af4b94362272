"""Adversarial and sensitive requests, judged by the policy that each row sets for its answer."""

from gym_ray.environments.jailbreak_detection.server import JailbreakDetection as JailbreakDetection
