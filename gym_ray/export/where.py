"""A small boolean language over a task's rollouts: ``any(reward >= 1) and mean(reward) < 0.9``.

Grammar, a part of Python's: ``and``, ``or``, ``not``, comparisons (``< <= > >= == != in``), ``+ - * /``, numbers,
texts, and the names and functions below. Names of a rollout stand inside a function only, names of the task outside
too. What is unknown (the reward of a failed rollout) makes a comparison false, and is left out by ``mean`` and its kin.

The text is parsed to Python's syntax tree and each allowed node becomes a closure; nothing is ever evaluated as code.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from statistics import fmean, pstdev
from typing import Any

from gym_ray.runs.rollouts import Group, StoredRollout
from gym_ray.types.items import function_calls
from gym_ray.types.outcome import Outcome

OF_ROLLOUT: dict[str, Callable[[StoredRollout], Any]] = {
    "reward": lambda one: one.reward,
    "outcome": lambda one: str(one.outcome),
    "failure": lambda one: one.failure or "",
    "finish": lambda one: one.finish_reason,
    "tokens": lambda one: one.completion_tokens,
    "prompt_tokens": lambda one: one.prompt_tokens,
    "turns": lambda one: one.turns,
    "calls": lambda one: len(function_calls(one.items)),
    "index": lambda one: one.index,
}
"""Names of a rollout. ``component.NAME`` is one more, a part of its reward. ``tokens``: sampled."""
OF_TASK: dict[str, Callable[[Group], Any]] = {
    "environment": lambda group: group.environment,
    "task_id": lambda group: group.task_id,
    "rollouts": lambda group: len(group.rollouts),
    "scored": lambda group: sum(one.outcome is Outcome.SCORED for one in group.rollouts),
}
"""Names of the task."""
_CONDITIONS: dict[str, Callable[[Sequence[bool]], Any]] = {
    "any": any,
    "all": all,
    "count": sum,
    "share": lambda found: sum(found) / len(found),
}
"""Functions of a condition, over all the task's rollouts whatever their outcome."""
_NUMBERS: dict[str, Callable[[Sequence[float]], float]] = {
    "mean": fmean,
    "min": min,
    "max": max,
    "sum": sum,
    "std": pstdev,
}
"""Functions of a number, over the rollouts that have it; unknown when none has."""
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.In: lambda value, choices: value in choices,
}
_ARITHMETIC: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
LONGEST = 2000
"""Characters of an expression at most, so that no tree is too deep to walk."""

Value = Callable[[Group, StoredRollout | None], Any]
"""A compiled expression; the rollout is None outside a function."""


@dataclass(frozen=True, slots=True)
class Where:
    """A parsed expression, to be asked of groups."""

    text: str
    _value: Value

    def __call__(self, group: Group) -> bool:
        """Whether the task is one of those meant."""
        return bool(self._value(group, None))


@lru_cache(maxsize=64)
def parse_where(text: str) -> Where:
    """Parse ``text``.

    Raises:
        ValueError: it is no expression of this language; the message quotes the part and names the mend.
    """
    if len(text) > LONGEST:
        raise ValueError(f"longer than {LONGEST:,} characters")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        at = f" at `{text.strip()[(error.offset or 1) - 1 :][:20]}`" if isinstance(error, SyntaxError) else ""
        raise ValueError(f"cannot be read{at}: {getattr(error, 'msg', error)}") from None
    compiler = _Compiler(text.strip())
    value = compiler.compile(tree, inside=False)
    if not _is_condition(tree):
        raise ValueError(f"`{compiler.source(tree)}` is no condition: compare it with something, like `> 0.5`")
    return Where(text.strip(), value)


def _is_condition(node: ast.AST) -> bool:
    if isinstance(node, ast.BoolOp):
        return all(map(_is_condition, node.values))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return _is_condition(node.operand)
    called = node.func if isinstance(node, ast.Call) else None
    return isinstance(node, ast.Compare) or (isinstance(called, ast.Name) and called.id in ("any", "all"))


class _Compiler:
    """From nodes to closures. ``inside``: within a function, where names of a rollout mean something."""

    def __init__(self, text: str) -> None:
        self._text = text

    def source(self, node: ast.AST) -> str:
        """A node as it was written."""
        return ast.get_source_segment(self._text, node) or self._text

    def compile(self, node: ast.AST, *, inside: bool) -> Value:
        """Raises ValueError."""
        if isinstance(node, ast.BoolOp):
            return self._bool(node, inside)
        if isinstance(node, ast.UnaryOp):
            return self._unary(node, inside)
        if isinstance(node, ast.Compare):
            return self._compare(node, inside)
        if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
            return self._arithmetic(node, inside)
        if isinstance(node, ast.Call):
            return self._call(node, inside)
        if isinstance(node, ast.Name):
            return self._name(node, inside)
        if isinstance(node, ast.Attribute):
            return self._component(node, inside)
        return self._constant(node)

    def _bool(self, node: ast.BoolOp, inside: bool) -> Value:
        for value in node.values:
            if not _is_condition(value):
                raise ValueError(f"`{self.source(value)}` is no condition: compare it with something")
        parts = [self.compile(value, inside=inside) for value in node.values]
        if isinstance(node.op, ast.And):
            return lambda group, one: all(part(group, one) for part in parts)
        return lambda group, one: any(part(group, one) for part in parts)

    def _unary(self, node: ast.UnaryOp, inside: bool) -> Value:
        operand = self.compile(node.operand, inside=inside)
        if isinstance(node.op, ast.Not) and _is_condition(node.operand):
            return lambda group, one: not operand(group, one)
        if isinstance(node.op, ast.USub):
            return lambda group, one: None if (value := operand(group, one)) is None else -value
        raise self._unknown(node)

    def _compare(self, node: ast.Compare, inside: bool) -> Value:
        tests = [_COMPARE.get(type(one)) for one in node.ops]
        if None in tests:
            raise self._unknown(node)
        if any(isinstance(one, ast.In) for one in node.ops) and not isinstance(
            node.comparators[-1], ast.Tuple | ast.List
        ):
            raise ValueError(f"`{self.source(node)}`: what stands after `in` is a list, like ('length', 'max_turns')")
        values = [self.compile(one, inside=inside) for one in (node.left, *node.comparators)]

        def compare(group: Group, one: StoredRollout | None) -> bool:
            found = [value(group, one) for value in values]
            try:
                return all(
                    None not in (a, b) and test(a, b)
                    for a, test, b in zip(found, tests, found[1:], strict=False)
                    if test is not None
                )
            except TypeError:
                return False  # a text beside a number

        return compare

    def _arithmetic(self, node: ast.BinOp, inside: bool) -> Value:
        apply = _ARITHMETIC[type(node.op)]
        left, right = (self.compile(side, inside=inside) for side in (node.left, node.right))

        def compute(group: Group, one: StoredRollout | None) -> float | None:
            try:
                return apply(left(group, one), right(group, one))
            except (TypeError, ZeroDivisionError, OverflowError):
                return None

        return compute

    def _call(self, node: ast.Call, inside: bool) -> Value:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        known = [*_CONDITIONS, *_NUMBERS]
        if name not in known:
            raise ValueError(f"`{self.source(node.func)}`: no such function{_near(name, known)}")
        if inside:
            raise ValueError(f"`{self.source(node)}`: a function inside a function")
        if len(node.args) != 1 or node.keywords:
            raise ValueError(f"`{self.source(node)}`: {name} takes one thing")
        argument = self.compile(node.args[0], inside=True)
        if name in _NUMBERS:
            summarise = _NUMBERS[name]
            return lambda group, _: summarise(found) if (found := _numbers(group, argument)) else None
        if not _is_condition(node.args[0]):
            raise ValueError(f"`{self.source(node)}`: {name} takes a condition, like {name}(reward >= 1)")
        decide = _CONDITIONS[name]
        return lambda group, _: decide([bool(argument(group, one)) for one in group.rollouts])

    def _name(self, node: ast.Name, inside: bool) -> Value:
        if node.id in OF_TASK:
            of_task = OF_TASK[node.id]
            return lambda group, _: of_task(group)
        if node.id not in OF_ROLLOUT:
            names = [*OF_ROLLOUT, *OF_TASK, *_CONDITIONS, *_NUMBERS]
            raise ValueError(f"`{node.id}`: no such name{_near(node.id, names)}; a text stands in quotes")
        if not inside:
            raise ValueError(f"`{node.id}` differs from rollout to rollout: any({node.id} ...), mean({node.id}), ...")
        take = OF_ROLLOUT[node.id]
        return lambda _, one: None if one is None else take(one)

    def _component(self, node: ast.Attribute, inside: bool) -> Value:
        if not (isinstance(node.value, ast.Name) and node.value.id == "component"):
            raise self._unknown(node)
        if not inside:
            raise ValueError(f"`{self.source(node)}` differs from rollout to rollout: mean({self.source(node)}), ...")
        name = node.attr
        return lambda _, one: None if one is None else one.components.get(name)

    def _constant(self, node: ast.AST) -> Value:
        try:
            value = ast.literal_eval(node)  # takes any node, and refuses what is no literal
        except (ValueError, TypeError):
            raise self._unknown(node) from None
        parts = value if isinstance(value, list | tuple) else [value]
        if not all(isinstance(part, int | float | str) for part in parts):
            raise self._unknown(node)
        return lambda _group, _one: value

    def _unknown(self, node: ast.AST) -> ValueError:
        return ValueError(f"`{self.source(node)}`: not a part of this language (docs/export.md says what is)")


def _numbers(group: Group, argument: Value) -> list[float]:
    found = (argument(group, one) for one in group.rollouts)
    return [value for value in found if isinstance(value, int | float)]


def _near(name: str, known: Sequence[str]) -> str:
    near = get_close_matches(name, known, 1)
    return f"; nearest: {near[0]}" if near else f" (there are: {', '.join(known)})"
