"""One environment as the ``env`` verbs see it: its configuration and its class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import Field

from gym_ray.cli.compose import compose_settings
from gym_ray.resources.config import EnvironmentConfig
from gym_ray.resources.gymnasium import GymnasiumServer
from gym_ray.resources.load import load_server
from gym_ray.resources.server import ResourcesServer
from gym_ray.types.errors import UserError
from gym_ray.types.settings import Settings


class EnvironmentRequest(Settings):
    """What the ``env`` verbs compose."""

    envs: dict[str, EnvironmentConfig] = Field(default_factory=dict)
    """Environments by name."""


@dataclass(frozen=True, slots=True)
class Environment:
    """``name`` as ``env=`` chooses it, its settings, its class."""

    name: str
    config: EnvironmentConfig
    server: type[ResourcesServer]

    @property
    def traits(self) -> list[str]:
        """What decides how it is hosted and driven, in words."""
        shape = (
            "gymnasium" if issubclass(self.server, GymnasiumServer) else "tools" if self.server.tools() else "one turn"
        )
        traits = {
            "group verifier": self.server.scores_groups(),
            "judge": bool(self.server.judge_roles),
            "cpu bound": self.server.cpu_bound,
            "pure": self.server.pure,
        }
        return [shape, *(trait for trait, present in traits.items() if present)]


def find_environment(choice: str, settings: Sequence[str] = ()) -> Environment:
    """The environment that ``env=choice`` chooses, with further ``settings`` (``env.options.x=1``).

    Raises:
        UserError: there is none, or it cannot be loaded.
    """
    request, _ = compose_settings([f"env={choice}", *settings], EnvironmentRequest)
    if len(request.envs) != 1:
        raise UserError(f"`{choice}`: one environment at a time")
    ((name, config),) = request.envs.items()
    return Environment(name, config, load_server(config.server))


def one_choice(words: Sequence[str], verb: str) -> tuple[str, list[str]]:
    """The one positional word and the rest. Raises UserError when there is none, or several."""
    choices = [word for word in words if "=" not in word and not word.startswith("-")]
    if len(choices) != 1:
        raise UserError(f"{verb} takes one environment: a name, path/to/file.py:Class or package.module:Class")
    return choices[0], [word for word in words if word != choices[0]]
