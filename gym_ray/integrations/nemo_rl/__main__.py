"""``python -m gym_ray.integrations.nemo_rl SCRIPT.py [ARGUMENT]...``: see ``launch``."""

import sys

from gym_ray.integrations.nemo_rl.launch import main

main(sys.argv[1:])
