"""The embedded policy as shipped: its shape, what it earns on tasks it has never seen, and the data it is made from."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen3ForCausalLM

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "scripts"))

from tiny_training.experts import Course, courses, dialogues, held_out, taught  # noqa: E402
from tiny_training.policy import build_model, build_tokenizer  # noqa: E402
from tiny_training.trial import measure  # noqa: E402

WEIGHTS = ROOT / "gym_ray" / "models" / "tiny" / "weights"
FLOORS = {"mcqa": 0.3, "math": 0.4, "structured_outputs": 0.6, "workplace": 0.4}
"""Far below what the model card reports, and above what guessing earns (a quarter in mcqa, nothing elsewhere)."""
TASKS, ROLLOUTS = 24, 2
COURSES = {course.name: course for course in courses()}


@pytest.fixture(scope="module")
def shipped() -> Qwen3ForCausalLM:
    model = AutoModelForCausalLM.from_pretrained(WEIGHTS, dtype=torch.float32)
    assert isinstance(model, Qwen3ForCausalLM)
    return model


def test_small_enough_to_travel(shipped: Qwen3ForCausalLM) -> None:
    assert json.loads((WEIGHTS / "config.json").read_text())["architectures"] == ["Qwen3ForCausalLM"]
    assert sum(file.stat().st_size for file in WEIGHTS.iterdir()) <= 12_000_000
    assert shipped.num_parameters() < 6_000_000


@pytest.mark.parametrize("name", FLOORS)
async def test_earns_rewards_on_tasks_it_has_not_seen(name: str, shipped: Qwen3ForCausalLM) -> None:
    torch.manual_seed(0)
    score = await measure(shipped, AutoTokenizer.from_pretrained(WEIGHTS), COURSES[name], TASKS, ROLLOUTS)
    assert score.tasks == TASKS
    assert score.mean >= FLOORS[name]
    assert score.pass_at_all >= score.mean


async def test_untrained_weights_do_not() -> None:
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(WEIGHTS)
    for name in ("mcqa", "structured_outputs"):
        score = await measure(build_model(tokenizer), tokenizer, COURSES[name], 4, ROLLOUTS)
        assert score.mean < FLOORS[name]


@pytest.mark.parametrize("name", COURSES)
async def test_dialogues_are_the_same_every_time_and_hold_no_measured_task(name: str) -> None:
    course: Course = COURSES[name]
    first = await dialogues(course, 40)
    assert first == await dialogues(course, 40)
    assert len({one.text for one in first}) == 40
    measured = {str(row["responses_create_params"]["input"]) for row in held_out(name)}
    assert not measured & {str(row["responses_create_params"]["input"]) for row in taught(name, 2_000)}


def test_a_word_has_the_same_tokens_wherever_it_stands() -> None:
    tokenizer = build_tokenizer(['Ana has 34. {"name":"Ana","age":34}\nAna'] * 50, 400)
    ids = [tokenizer.encode(text, add_special_tokens=False) for text in ("Ana", "34")]
    for text in ("Ana 34", 'is "Ana":34', "\nAna, 34."):
        found = tokenizer.encode(text, add_special_tokens=False)
        for word in ids:
            assert any(found[at : at + len(word)] == word for at in range(len(found)))
        assert tokenizer.decode(found) == text
