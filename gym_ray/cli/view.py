"""``gym-ray view``: a run's page, served while the run goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from gym_ray.cli.main import DONE
from gym_ray.cli.profile import Parser, parse_thresholds
from gym_ray.cli.runs_show import run_address
from gym_ray.runs.read import read_run
from gym_ray.types.errors import UserError

HOST, PORT = "127.0.0.1", 8642
HELP = f"""\
usage: gym-ray view RUN [--host {HOST}] [--port {PORT}] [--threshold [ENV=]REWARD]... [--tokenizer DIR]

  gym-ray view runs/demo                        then open http://{HOST}:{PORT}
  gym-ray view runs/demo --port 0               any free port
  gym-ray view s3://bucket/run

The page of gym-ray report, of all rollouts, and of a run in progress too: what its journal has appears within seconds.
Reads only. --host 0.0.0.0 opens it to the network, without authentication. Ctrl-C ends it; the run goes on.
--threshold, --tokenizer: as for gym-ray report.
"""


def help_text() -> str:
    """Usage."""
    return HELP


def run(words: Sequence[str]) -> int:
    """See the module."""
    parser = Parser("view", add_help=False, allow_abbrev=False)
    parser.add_argument("run")
    parser.add_argument("--host", default=HOST)
    parser.add_argument("--port", default=str(PORT))
    parser.add_argument("--threshold", action="append", default=[])
    parser.add_argument("--tokenizer")
    given = parser.parse_args(list(words))
    if not given.port.isdecimal() or int(given.port) > 65535:
        raise UserError(f"--port {given.port}: a port, or 0 for any that is free")

    from gym_ray.runs.report.texts import token_texts
    from gym_ray.runs.view.desk import Desk

    address = run_address(given.run)
    desk = Desk(address, token_texts(read_run(address), given.tokenizer), parse_thresholds(given.threshold, address))
    asyncio.run(_serve(desk, given.host, int(given.port)))
    return DONE


async def _serve(desk: object, host: str, port: int) -> None:
    """Answer until Ctrl-C."""
    import socket

    from uvicorn import Config, Server

    from gym_ray.runs.view.desk import Desk
    from gym_ray.runs.view.server import LOOPBACK, application

    assert isinstance(desk, Desk)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen()  # Who reads the address may come at once.
    except OSError as error:
        raise UserError(f"cannot listen at {host}:{port}: {error.strerror}: --port says another, 0 any") from error
    shown = f"[{host}]" if ":" in host else host
    names = LOOPBACK if shown in LOOPBACK else ()
    print(f"http://{shown}:{listener.getsockname()[1]} (Ctrl-C ends it)", flush=True)
    server = Server(Config(application(desk, names), log_level="warning"))
    await server.serve(sockets=[listener])
