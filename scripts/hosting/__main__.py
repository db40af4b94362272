"""The table over all servers: ``scripts/test_nemo_gym [SERVER...]``."""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path

import ray
from rich.console import Console
from rich.progress import track

from gym_ray.integrations.nemo_gym.tree import Tree
from gym_ray.resources.actor import Pool, start_pool
from gym_ray.resources.config import EnvironmentConfig
from gym_ray.resources.connect import connect
from gym_ray.types.errors import UserError
from hosting.cost import compare
from hosting.recordings import recordings
from hosting.replay import Result, Verdict, replay

START_S = 180.0
AT_ONCE = 2
"""Servers hosted at a time: most of it is imports."""
AT_LEAST = 256
"""Rows of nemo-gym 0.7.0 that a whole table reproduces, if hosting is sound; some servers draw at random."""
SERVER = "gym_ray.integrations.nemo_gym:NemoGym"


@dataclass
class Server:
    """What was found out about one server. ``problem``: why it could not be hosted."""

    name: str
    problem: str = ""
    imported: bool = True
    seconds: float = 0.0
    results: list[Result] = field(default_factory=list)

    @property
    def counts(self) -> Counter[Verdict]:
        """Rows by verdict."""
        return Counter(result.verdict for result in self.results)

    @property
    def is_full(self) -> bool:
        """Every row that can be verified was reproduced, and at least one."""
        return self.counts[Verdict.REPRODUCED] > 0 and set(self.counts) <= {Verdict.REPRODUCED, Verdict.STALE}


def examine(tree: Tree, name: str, known: Mapping[str, Server]) -> Server:
    """Host one server in an actor and replay its recordings, unless that was done."""
    if name in known:
        return known[name]
    found, began = Server(name), time.monotonic()
    pool = None
    try:
        pool = start_pool(name, config_of(tree, name), timeout_s=START_S)
        found.results = asyncio.run(_replayed(pool, tree.folder(name)))
    except UserError as error:
        found.problem = str(error).splitlines()[0]
        found.imported = not ("needs the module" in found.problem or "cannot be imported" in found.problem)
    except Exception as error:
        found.problem = f"{type(error).__name__}: {error}".splitlines()[0]
    finally:
        if pool is not None:
            pool.shutdown()
    found.seconds = time.monotonic() - began
    return found


def config_of(tree: Tree, name: str) -> EnvironmentConfig:
    """Without models. A server with several configurations and none of its own name is taken with the first."""
    options = {"server": name, "models": []}
    try:
        tree.config_file(name)
    except UserError:
        files = sorted((tree.folder(name) / "configs").glob("*.yaml"))
        options |= {"config": files[0].stem} if files else {}
    return EnvironmentConfig(server=SERVER, options=options)


async def _replayed(pool: Pool, folder: Path) -> list[Result]:
    resources = connect(pool.name, pool.config, pool)
    results: list[Result] = []
    try:
        for recording in recordings(folder):
            if isinstance(recording, str):
                results.append(Result(Verdict.STALE, None, recording))
            elif results and results[-1].verdict is Verdict.HUNG:
                results.append(results[-1])  # one deadline is enough
            else:
                results.append(await replay(resources, recording))
    finally:
        await resources.aclose()
    return results


def show(console: Console, server: Server) -> None:
    """One line of the table."""
    counts = server.counts
    cells = "  ".join(f"{counts[verdict]:>4}" for verdict in Verdict)
    first = next((one for one in server.results if one.verdict is not Verdict.REPRODUCED), None)
    reason = server.problem or (f"recorded {first.recorded}: {first.said}" if first is not None else "")
    console.print(f"{server.name[:44]:<44}  {cells}  {' '.join(reason.split())[:110]}", markup=False, highlight=False)


def read(file: Path | None) -> dict[str, Server]:
    """What an earlier run found, by server."""
    found = {}
    for line in file.read_text(encoding="utf-8").splitlines() if file is not None and file.is_file() else ():
        record = json.loads(line)
        results = [Result(Verdict(one["verdict"]), one["recorded"], one["said"]) for one in record.pop("results")]
        found[record["name"]] = Server(**record, results=results)
    return found


def summary(servers: list[Server]) -> str:
    """The last line."""
    rows = sum((server.counts for server in servers), Counter())
    imported = sum(server.imported for server in servers)
    full = sum(server.is_full for server in servers)
    reproduced, differ = rows[Verdict.REPRODUCED], rows[Verdict.DIFFERS]
    return f"{imported} apps imported, {full} servers reproduced fully, {reproduced} rows reproduced, {differ} differ"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="scripts/test_nemo_gym", description=__doc__)
    parser.add_argument("servers", nargs="*", help="all of them, unless named")
    parser.add_argument("--json", type=Path, help="results, a line per server; those there are not run again")
    parser.add_argument("--cost", action="store_true", help="CPU per rollout, here and in NeMo Gym itself, instead")
    arguments = parser.parse_args()
    if arguments.cost:
        print(compare())
        return
    tree, console = Tree.find(), Console(width=240)
    known = read(arguments.json)
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="error")
    console.print(
        f"{'server':<44}  {'  '.join(f'{verdict[:4]:>4}' for verdict in Verdict)}  first that was not reproduced"
    )
    servers, names = [], arguments.servers or tree.names()
    with ThreadPoolExecutor(AT_ONCE) as threads:
        found = [threads.submit(examine, tree, name, known) for name in names]
        for one in track(as_completed(found), "replaying", total=len(names), console=console, transient=True):
            servers.append(server := one.result())
            show(console, server)
            if arguments.json and server.name not in known:
                with arguments.json.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(server)) + "\n")
    console.print(summary(servers), highlight=False)
    if not arguments.servers and sum(server.counts[Verdict.REPRODUCED] for server in servers) < AT_LEAST:
        raise SystemExit(f"fewer than {AT_LEAST} rows reproduced: see the reasons above")


if __name__ == "__main__":
    main()
