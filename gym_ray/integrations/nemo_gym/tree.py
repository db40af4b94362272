"""Where NeMo Gym's servers are on this machine: an installed wheel, or a checkout.

Layout, the same in both (NeMo Gym 0.5 to 0.7): a root with the packages ``nemo_gym`` and ``resources_servers``,
in the latter one folder per server with its entry point (``app.py``), ``configs/*.yaml`` and ``data/``.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from gym_ray.types.errors import UserError

INSTALL = "pip install --no-deps nemo-gym, or set `env.options.path` to a checkout"


@dataclass(frozen=True, slots=True)
class Tree:
    """One installation. ``root``: the folder that holds ``nemo_gym`` and ``resources_servers``."""

    root: Path

    @classmethod
    def find(cls, path: str | None = None) -> Tree:
        """The tree at ``path``, else that of the installed package.

        Raises:
            UserError: there is none.
        """
        if path is not None:
            root = Path(path).expanduser().resolve()
        else:
            spec = importlib.util.find_spec("nemo_gym")
            if spec is None or spec.origin is None:
                raise UserError(f"NeMo Gym is not installed: {INSTALL}")
            root = Path(spec.origin).resolve().parent.parent
        if not (root / "nemo_gym").is_dir() or not (root / "resources_servers").is_dir():
            raise UserError(f"{root}: no NeMo Gym here (no folders nemo_gym and resources_servers); {INSTALL}")
        return cls(root)

    def names(self) -> list[str]:
        """All servers with an entry point, sorted."""
        return sorted({app.parent.name for app in (self.root / "resources_servers").glob("*/*app.py")})

    def folder(self, server: str) -> Path:
        """The server's folder.

        Raises:
            UserError: there is no such server; the nearest name is given.
        """
        folder = self.root / "resources_servers" / server
        if not folder.is_dir() or not server.isidentifier():
            near = get_close_matches(server, self.names(), n=1)
            hint = f"; did you mean `{near[0]}`?" if near else ""
            raise UserError(f"NeMo Gym has no resources server `{server}` in {folder.parent}{hint}")
        return folder

    def config_file(self, server: str, choice: str | None = None) -> Path:
        """The server's YAML: ``choice`` (a name in its ``configs/`` or a path), else the one of its own name.

        Raises:
            UserError: there is none, or several and none of the server's name.
        """
        folder = self.folder(server) / "configs"
        found = sorted(folder.glob("*.yaml"))
        if choice is not None:
            for file in (folder / choice, folder / f"{choice}.yaml", Path(choice).expanduser()):
                if file.is_file():
                    return file.resolve()
            raise UserError(f"NeMo Gym's `{server}`: no config {choice!r}; there are {_names(found)}")
        own = folder / f"{server}.yaml"
        if own in found or len(found) == 1:
            return own if own in found else found[0]
        raise UserError(f"NeMo Gym's `{server}`: set `env.options.config` to one of {_names(found)}")


def _names(files: list[Path]) -> str:
    return ", ".join(file.stem for file in files) or "none"
