"""Signals reach the run, whoever else would like to have them."""

from __future__ import annotations

import os
import signal
import sys

from gym_ray.collect.cluster import _sigterm_kept
from gym_ray.collect.interrupts import Interrupts


def test_sigterm_is_the_runs_after_ray_has_started() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Interrupts() as interrupts:
        with _sigterm_kept():
            signal.signal(signal.SIGTERM, lambda *_: sys.exit("as ray.init does"))
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupts.count == 2
    assert signal.getsignal(signal.SIGTERM) == before
