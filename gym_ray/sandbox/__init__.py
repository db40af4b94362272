"""Where model-written code runs, and nowhere else.

::

    pool = SandboxPool(SandboxConfig())            # UserError where no isolation can be had
    async with pool.sandbox() as sandbox:          # fresh, used once
        result = await sandbox.run(Command(python=source, stdin=b"3"), pool.limits.within(2.0))
        result = await sandbox.execute("x = 1")    # an interpreter that keeps its state

A program sees the system's libraries, Python, and an empty ``/tmp``. It has no network, no secrets, no privileges, and
nothing of it is left when the block ends. What it reports is data: results are compared outside. docs/sandbox.md says
what holds behind which wall.
"""

from gym_ray.sandbox.command import Command as Command
from gym_ray.sandbox.command import Killed as Killed
from gym_ray.sandbox.command import Limits as Limits
from gym_ray.sandbox.command import Result as Result
from gym_ray.sandbox.config import SandboxConfig as SandboxConfig
from gym_ray.sandbox.pool import SandboxPool as SandboxPool
from gym_ray.sandbox.provider import UNSAFE as UNSAFE
from gym_ray.sandbox.provider import Sandbox as Sandbox
from gym_ray.sandbox.provider import SandboxUnavailable as SandboxUnavailable
