"""Start of an environment's process, run by its path: ``PYTHON -P child_boot.py FD PARENT``.

This Python may have nothing but its standard library and the environment's packages. gym_ray and what it needs come
after those, from the parent's module path (``GYM_RAY_PATH``). So only the standard library is used until then, and
what goes wrong is told over the socket ``FD`` in the words of ``duplex``.
"""

import os
import pickle
import struct
import sys


def main() -> None:
    """Entry point."""
    descriptor, parent = map(int, sys.argv[1:])
    os.set_inheritable(descriptor, False)
    sys.path += [place for place in os.environ.pop("GYM_RAY_PATH", "").split(os.pathsep) if place not in sys.path]
    try:
        from gym_ray.resources.child_main import run
    except Exception as error:
        reason = f"{sys.executable} cannot import gym_ray: {type(error).__name__}: {error}"
        body = pickle.dumps(("ask", 0, ("broken", reason)))
        os.write(descriptor, struct.pack("<Q", len(body)) + body)
        os._exit(1)
    run(descriptor, parent)


if __name__ == "__main__":
    main()
