"""Puzzles by reasoning-gym's own generators: 16 kinds at their easiest, 64 as they come, 64 two levels up.

The kinds are those that take milliseconds to make, are asked in less than 2,000 characters, and name an answer that
their own scorer gives 1.0.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cache
from typing import Any

from gym_ray.environments.generate import Difficulty, Row, Turn, distinct_rows, prompt_params
from gym_ray.types.errors import UserError
from gym_ray.types.items import assistant_message

INSTRUCTIONS = "Put your final answer between <answer> and </answer>, and nothing else there."

_EASY = (
    "basic_arithmetic chain_sum coin_flip count_bits fraction_simplification gcd lcm leg_counting letter_counting "
    "number_sequence power_function products simple_equations spell_backward time_intervals word_sorting"
)
_KINDS = (
    "ab advanced_geometry aiw arc_1d base_conversion basic_arithmetic binary_alternation bitwise_arithmetic "
    "calendar_arithmetic chain_sum coin_flip complex_arithmetic count_bits count_primes countdown cryptarithm "
    "decimal_arithmetic decimal_chain_sum dice emoji_mystery family_relationships fraction_simplification "
    "game_of_life_halting gcd gsm_symbolic intermediate_integration isomorphic_strings kakurasu knights_knaves lcm "
    "leg_counting letter_counting letter_jumble mini_sudoku n_queens number_sequence palindrome_generation "
    "palindrome_partitioning path_star polynomial_equations power_function prime_factorization products puzzle24 "
    "quantum_lock ransom_note self_reference sentence_reordering simple_equations simple_geometry simple_integration "
    "sokoban spell_backward string_insertion string_splitting string_synthesis sudoku syllogism time_intervals "
    "tower_of_hanoi tsumego word_sequence_reversal word_sorting zebra_puzzles"
)
EASY, KINDS = _EASY.split(), _KINDS.split()
"""Datasets by name."""


def generate(count: int, seed: int, difficulty: Difficulty | str = Difficulty.EASY) -> Iterator[Row]:
    """Rows in NeMo Gym's ``reasoning_gym`` layout. See :func:`~gym_ray.environments.generate.distinct_rows`.

    Raises:
        UserError: reasoning-gym is not installed.
    """
    level = Difficulty(difficulty)
    return distinct_rows("reasoning_gym", count, seed, level, lambda rng: _row(rng, level))


def solve(row: Row) -> list[Turn]:
    """One turn: the entry's own answer between the tags."""
    return [[assistant_message(f"<answer>{row['answer']}</answer>")]]


def _row(rng: random.Random, level: Difficulty) -> Row:
    name = rng.choice(EASY if level is Difficulty.EASY else KINDS)
    try:
        import reasoning_gym
    except ImportError:
        raise UserError("reasoning-gym is not installed: pip install 'gym-ray[reasoning-gym]'") from None
    settings = _settings(name, level) | {"seed": rng.randrange(2**31), "size": 1}
    entry = reasoning_gym.create_dataset(name, **settings)[0]
    return {"responses_create_params": prompt_params(entry["question"], INSTRUCTIONS), **entry}


@cache
def _settings(name: str, level: Difficulty) -> dict[str, Any]:
    """The dataset's settings, by its curriculum: every attribute at its first or third level."""
    from reasoning_gym.factory import create_curriculum, has_curriculum

    if level is Difficulty.MEDIUM or not has_curriculum(name):
        return {}
    curriculum = create_curriculum(name)
    for attribute in curriculum.attributes.values():
        step = 0 if level is Difficulty.EASY else min(2, len(attribute.levels) - 1)
        curriculum.set_attr_level(attribute.name, step)
    return {key: value for key, value in vars(curriculum.generate_configuration()).items() if key != "seed"}
