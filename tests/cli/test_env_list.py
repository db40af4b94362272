"""``gym-ray env list``: every choice once, each with a line that is its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from gym_ray.cli import env_list
from gym_ray.cli.compose import conf_dir
from gym_ray.environments import catalog


def test_every_choice_has_a_line_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "env").mkdir()
    server = "server: gym_ray.environments.mcqa:Mcqa\n"
    (tmp_path / "env" / "mine.yaml").write_text(f"# My own: short. And more of it.\n{server}")
    (tmp_path / "env" / "plain.yaml").write_text(server)
    assert env_list.run(["--config-dir", str(tmp_path)]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines()[1:] if not line.startswith(" ")]
    rows = {line.split()[0].partition("/")[0]: " ".join(line.split()[1:]) for line in lines}
    assert list(rows) == sorted({file.stem for file in (conf_dir() / "env").glob("*.yaml")} | {"mine", "plain"})
    assert set(catalog.names()) <= set(rows)
    assert rows["mine"] == "My own: short. one turn, pure"
    assert rows["plain"].startswith("Multiple-choice questions: reward 1.0")
    assert len(set(rows.values())) == len(rows)
