"""Tables that NeMo Data Designer itself wrote, as tasks: the guide's program, its prompt file, its commands."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gym_ray.cli.main import main
from gym_ray.collect.driver import collect
from tests.integrations.neighbours import blocks
from tests.support.endpoint import EndpointProcess

pytest.importorskip("data_designer")
pytestmark = pytest.mark.integrations
STRUCTURED = """
import sys

import data_designer.config as dd
from data_designer.interface import DataDesigner
from pydantic import BaseModel


class Item(BaseModel):
    question: str
    options: list[dict[str, str]]
    answer: str


provider = dd.ModelProvider(name="here", endpoint=sys.argv[1], api_key="none")
writer = dd.ModelConfig(alias="writer", model="m", provider="here", skip_health_check=True)
columns = dd.DataDesignerConfigBuilder(model_configs=[writer])
topics = dd.CategorySamplerParams(values=["fruit"])
columns.add_column(dd.SamplerColumnConfig(name="topic", sampler_type="category", params=topics))
prompt = "Ask about {{ topic }}."
columns.add_column(dd.LLMStructuredColumnConfig(name="item", model_alias="writer", prompt=prompt, output_format=Item))
designer = DataDesigner(artifact_path="designed", model_providers=[provider])
designer.create(columns, num_records=2, dataset_name="choices").export("choices.jsonl")
"""
PROMPT = r"""
user: "{item[question]}\nPut the letter into \\boxed{{}}."
fields: {expected_answer: "{item[answer]}", options: "{item[options]}"}
"""


def design(folder: Path, program: str, *words: str) -> None:
    """Run a program of Data Designer there."""
    (folder / "design.py").write_text(program)
    done = subprocess.run(
        [sys.executable, "design.py", *words], cwd=folder, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.fixture(scope="module")
def sums(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the guide's program has run, with its prompt file beside."""
    folder = tmp_path_factory.mktemp("sums")
    design(folder, blocks("NeMo Data Designer", "python")[0].replace("num_records=100", "num_records=8"))
    (folder / "prompt.yaml").write_text(blocks("NeMo Data Designer", "yaml")[0])
    return folder


@pytest.mark.parametrize("tasks", ["designed/sums/parquet-files", "sums.jsonl"])
def test_the_guides_table_is_tasks(
    sums: Path, tasks: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(sums)
    assert main(["tasks", "validate", tasks, "env=math", "tasks.prompt=prompt.yaml"]) == 0
    assert "math: 8 good rows" in capsys.readouterr().out


def test_a_structured_column(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with EndpointProcess("tests.integrations.scripts:write_item") as base_url:
        design(tmp_path, STRUCTURED, base_url)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prompt.yaml").write_text(PROMPT)
    for tasks in ("designed/choices/parquet-files", "choices.jsonl"):
        made = [
            "tasks",
            "render",
            f"tasks={tasks}",
            "tasks.prompt=prompt.yaml",
            "env=mcqa",
            f"out={tasks[:7]}.out.jsonl",
        ]
        assert main(made) == 0
        rows = [json.loads(line) for line in (tmp_path / f"{tasks[:7]}.out.jsonl").read_text().splitlines()]
        assert {row["expected_answer"] for row in rows} == {"B"}
        # Exported lines have nulls for the keys that only other options have; Parquet rows come without.
        given = [{letter: text for letter, text in one.items() if text} for row in rows for one in row["options"]]
        assert given == [{"A": "a chair"}, {"B": "an apple"}] * 2


@pytest.mark.ray
def test_the_guides_table_is_collected(sums: Path, ray_cluster: dict[str, Any], tmp_path: Path) -> None:
    from gym_ray.cli.compose import compose_settings
    from gym_ray.collect.config import RunConfig

    with EndpointProcess("tests.integrations.scripts:box_the_sum") as base_url:
        words = ["env=math", f"tasks={sums}/designed/sums/parquet-files", f"tasks.prompt={sums}/prompt.yaml"]
        model = ["model=openai", "model.name=m", f"model.base_url={base_url}", f"run_dir={tmp_path}/run"]
        config, _ = compose_settings([*words, *model, "collect.agent_cpus=0.1"], RunConfig)
        collect(config)
    (metrics,) = json.loads((tmp_path / "run/metrics.json").read_text())["environments"].values()
    assert (metrics["scored"], metrics["reward"]["mean"]) == (8, 1.0)
