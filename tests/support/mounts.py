"""Filesystems of our own, inside a mount namespace: small ones that fill up, read-only ones."""

from __future__ import annotations

import subprocess

import pytest


def can_mount() -> bool:
    """Whether this user may mount in a namespace of its own (``unshare -m``)."""
    probe = ["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"]
    try:
        return subprocess.run(probe, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


needs_mount = pytest.mark.skipif(not can_mount(), reason="needs the right to mount")
