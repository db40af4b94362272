"""The collector runs when memory grows, and only then; a process of its own, because it is changed for good."""

import subprocess
import sys
import textwrap


def run(script: str) -> str:
    """What ``script`` prints."""
    command = [sys.executable, "-c", textwrap.dedent(script)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def test_cycles_do_not_pile_up() -> None:
    grown = run("""
        from gym_ray.collect.garbage import Garbage, resident_bytes
        garbage = Garbage()
        began, passes, worst = resident_bytes(), 0, 0
        for _ in range(1000):
            cycle = [b"x" * (1 << 20)]
            cycle.append(cycle)
            passes += garbage.look()
            worst = max(worst, resident_bytes() - began)
        print(passes, worst >> 20)
    """)
    passes, worst_mib = map(int, grown.split())
    assert passes >= 3
    assert worst_mib < 300


def test_without_cycles_it_never_runs() -> None:
    counted = run("""
        import gc
        from gym_ray.collect.garbage import Garbage
        garbage, seen = Garbage(), []
        gc.callbacks.append(lambda phase, info: seen.append(phase))
        kept = [[] for _ in range(200_000)]
        for _ in range(100):
            [[] for _ in range(10_000)]
            garbage.look()
        print(len(seen))
    """)
    assert int(counted) == 0
