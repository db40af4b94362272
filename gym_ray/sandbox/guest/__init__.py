"""What runs on the far side of the wall: standard library only, so that any Python 3.9 or newer can run it.

The host never imports gym_ray there. It starts a bare interpreter (``-I -S``) on this folder's parent, so modules here
import each other relatively and nothing else: :mod:`.launcher` forks jails on this machine, :mod:`.supervisor` is the
first process inside a jail or container, and runs programs.
"""
