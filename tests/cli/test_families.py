"""``env=FAMILY/MEMBER``: a file that leaves one option to the user stands for many environments."""

from __future__ import annotations

import pytest

from gym_ray.cli.compose import compose_settings
from gym_ray.collect.config import RunConfig
from gym_ray.types.errors import UserError


def test_the_member_fills_the_option_and_names_the_environment() -> None:
    words = ["env=mcqa,nemo_gym/math_with_judge", "envs.math_with_judge.options.config=hard", "run_dir=unused"]
    config, _ = compose_settings(words, RunConfig)
    assert set(config.envs) == {"mcqa", "math_with_judge"}
    assert config.envs["math_with_judge"].options == {"server": "math_with_judge", "config": "hard"}


def test_the_option_by_name_is_the_same() -> None:
    config, _ = compose_settings(["env=nemo_gym", "env.options.server=mcqa", "run_dir=unused"], RunConfig)
    assert config.envs["nemo_gym"].options == {"server": "mcqa"}


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ("mcqa/hard", "`mcqa` is one environment, no family of them"),
        ("nemo_gim/mcqa", "no such environment"),
        ("nemo_gym/mcqa,mcqa", "two environments would be called `mcqa`"),
        ("nemo_gym", "options.server=... is missing"),
    ],
)
def test_mistakes_are_named(choice: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        compose_settings([f"env={choice}", "run_dir=unused"], RunConfig)
