"""``gym-ray env show``: what an environment's tasks, tools, options and reward are."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence

from gym_ray.cli.environment import Environment, find_environment, one_choice
from gym_ray.cli.keys import shape_of
from gym_ray.cli.main import DONE
from gym_ray.resources.server import ResourcesServer
from gym_ray.types.task import TaskRow

HELP = """\
usage: gym-ray env show NAME|PATH:Class [env.KEY=VALUE]...

  gym-ray env show workplace
  gym-ray env show inventory/inventory.py:Inventory
"""


def help_text() -> str:
    """Usage."""
    return HELP


def run(words: Sequence[str]) -> int:
    """See the module."""
    choice, settings = one_choice(words, "env show")
    print("\n".join(_describe(find_environment(choice, settings))))
    return DONE


def _describe(found: Environment) -> Iterator[str]:
    server, options = found.server, found.config.options
    yield f"{found.name}   {', '.join(found.traits)}   {found.config.server}"
    for text in (inspect.getmodule(server).__doc__, server.__doc__):
        yield from _indented(inspect.cleandoc(text or ""))
    yield from ("", "Task fields (besides responses_create_params):", *_fields(server.Task))
    if tools := server.tools():
        yield from ("", "Tools:")
        for spec in tools.values():
            yield f"  {spec.name}({', '.join(spec.definition['parameters'].get('properties', {}))})"
            yield from _indented(str(spec.definition["description"]), 6)
    yield from ("", "Options (env.options.KEY):", *_options(server))
    yield from ("", "Reward:", *_indented(_reward(server)))
    seconds = (
        f"seed {server.seed_timeout_s:g} s, tool {server.tool_timeout_s:g} s, verify {server.verify_timeout_s:g} s"
    )
    yield from ("", f"Deadlines: {seconds}")
    examples = server.examples(options)
    count = sum(1 for line in examples.open("rb") if line.strip()) if examples.is_file() else 0
    yield f"Examples: {count} in {examples}" if count else "Examples: none"
    card = examples.with_name("README.md")
    if card.is_file():
        yield f"Card: {card}"


def _fields(task: type[TaskRow]) -> list[str]:
    lines = []
    for name, field in task.model_fields.items():
        if name in TaskRow.model_fields:
            continue
        default = "" if field.is_required() else f"={field.get_default(call_default_factory=True, validated_data={})!r}"
        lines += [f"  {name}{default}   <{shape_of(field.annotation)}>", *_indented(field.description or "", 6)]
    return lines or ["  none"]


def _options(server: type[ResourcesServer]) -> list[str]:
    parameters = list(inspect.signature(server.__init__).parameters.values())[1:]
    own = [parameter for parameter in parameters if parameter.kind is not parameter.VAR_KEYWORD]
    return [f"  {str(parameter).replace(chr(39), '')}" for parameter in own] or ["  none"]


def _reward(server: type[ResourcesServer]) -> str:
    method = server.verify_group if server.scores_groups() else server.verify
    return inspect.cleandoc(method.__doc__ or "see above")


def _indented(text: str, by: int = 2) -> list[str]:
    return [f"{'':{by}}{line}".rstrip() for line in text.splitlines()]
