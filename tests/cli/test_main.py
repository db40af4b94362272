"""The program itself: verbs, exit codes, help, and what it loads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from gym_ray.cli.main import VERBS, main

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Done:
    """What a command left."""

    returncode: int
    stdout: str
    stderr: str


Command = Callable[..., Done]


@pytest.fixture
def gym_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command in this process, in an empty working directory."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> Done:
        capsys.readouterr()
        code = main(words)
        return Done(code, *capsys.readouterr())

    return run


def process(command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Runs a shell command that says ``gym-ray``, as a process of its own."""
    command = command.replace("gym-ray", f"{sys.executable} -m gym_ray.cli.main", 1)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, shell=True, cwd=cwd, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def write_rows(path: Path, *rows: object) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_help_lists_every_verb_and_loads_next_to_nothing(tmp_path: Path) -> None:
    code = "import sys; from gym_ray.cli.main import main; main(['--help']); print(*sys.modules)"
    done = process(f'{sys.executable} -c "{code}"', tmp_path)
    assert done.returncode == 0, done.stderr
    assert all(verb in done.stdout for verb in VERBS)
    modules = set(done.stdout.splitlines()[-1].split())
    assert not modules & {"hydra", "omegaconf", "ray", "torch", "pyarrow", "numpy", "aiohttp", "rich", "yaml"}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(gym_ray: Command, verb: str) -> None:
    done = gym_ray(*verb.split(), "--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: gym-ray {verb}")


def test_the_help_of_collect_teaches_every_key(tmp_path: Path, gym_ray: Command) -> None:
    text = gym_ray("collect", "--help").stdout
    assert text.index("gym-ray collect env=mcqa") < text.index("collect.in_flight=1024   <int>")
    assert "Rollouts in flight in one agent worker." in text
    assert "env.num_actors=1   <int>" in text
    assert "model.retry.max_attempts=6   <int>" in text


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 2, ""),
        (["colect"], 2, "gym-ray: no verb `colect`; nearest: collect"),
        (["env"], 2, "gym-ray: no verb `env`; one of: env list, env show, env new, env test"),
        (["runs", "shwo"], 2, "gym-ray: no verb `runs shwo`; one of: runs list, runs show"),
        (["collect"], 2, "gym-ray: env=NAME is missing"),
        (["collect", "env=nope"], 2, "gym-ray: env=nope: no such environment"),
        (["serve", "model=nope"], 2, "gym-ray: model=nope: no such choice"),
        (["runs", "show", "nowhere"], 2, "gym-ray: nowhere is no run directory"),
        (["runs", "list"], 2, "gym-ray: no folder runs"),
        (["tasks", "validate", "x.jsonl"], 2, "gym-ray: env=NAME is missing"),
        (["env", "new", "Bad-Name"], 2, "gym-ray: `Bad-Name`: a name has lower-case letters"),
    ],
)
def test_usage_errors_are_one_line_and_code_2(gym_ray: Command, words: list[str], code: int, message: str) -> None:
    done = gym_ray(*words)
    assert done.returncode == code
    assert done.stderr.startswith(message)
    assert "Traceback" not in done.stderr


def test_a_closed_pipe_is_no_error(tmp_path: Path) -> None:
    done = process("gym-ray collect --help | head -n 1", tmp_path)
    assert done.stdout.startswith("usage: gym-ray collect")
    assert (done.returncode, done.stderr) == (0, "")


def test_print_config_shows_what_would_run_without_secrets(tmp_path: Path, gym_ray: Command) -> None:
    gym_ray("env", "new", "store")
    words = ["env=store/store.py", "model.headers.Authorization=sk-secret", "collect.rollouts_per_task=8"]
    done = gym_ray("collect", *words, "--print-config")
    assert done.returncode == 0, done.stderr
    assert "rollouts_per_task: 8" in done.stdout
    assert "run_dir: runs/" in done.stdout
    assert "sk-secret" not in done.stdout + done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_new_environment_shows_and_validates(tmp_path: Path, gym_ray: Command) -> None:
    made = gym_ray("env", "new", "book_store")
    assert made.returncode == 0, made.stderr
    assert "gym-ray env test book_store/book_store.py:BookStore" in made.stdout
    shown = gym_ray("env", "show", "book_store/book_store.py:BookStore")
    assert shown.returncode == 0, shown.stderr
    for expected in ("expected_total   <int>", "Pieces that must be taken in all.", "take(item, count)", "Examples: 3"):
        assert expected in shown.stdout
    valid = gym_ray("tasks", "validate", "env=book_store/book_store.py")
    assert valid.stdout == "book_store: 3 good rows\n"
    again = gym_ray("env", "new", "book_store")
    assert (again.returncode, again.stderr) == (2, "gym-ray: book_store exists already\n")
    elsewhere = gym_ray("env", "new", "book_store", "--dir", "deep/er")
    assert elsewhere.returncode == 0
    assert (tmp_path / "deep/er/book_store/golden.jsonl").is_file()


def test_validate_names_every_bad_row(tmp_path: Path, gym_ray: Command) -> None:
    gym_ray("env", "new", "store")
    task = {"responses_create_params": {"input": "x"}, "expected_total": 1}
    write_rows(tmp_path / "t.jsonl", task, task, {**task, "expected_total": "x"}, {"a": 1})
    done = gym_ray("tasks", "validate", "t.jsonl", "env=store/store.py")
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert lines[0].startswith("gym-ray: tasks: 2 bad rows")
    assert [line.split(": ")[0] for line in lines[1:]] == ["t.jsonl:3", "t.jsonl:4", "t.jsonl:4"]


def test_render_applies_a_prompt_and_leaves_nothing_behind_on_errors(tmp_path: Path, gym_ray: Command) -> None:
    gym_ray("env", "new", "store")
    (tmp_path / "p.yaml").write_text("user: 'Take {n}.'\n")
    write_rows(tmp_path / "raw.jsonl", {"n": 3, "expected_total": 3}, {"n": 4, "expected_total": 4})
    words = ["tasks", "render", "tasks=raw.jsonl", "tasks.prompt=p.yaml", "env=store/store.py", "out=made.jsonl"]
    done = gym_ray(*words)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "made.jsonl").read_text().splitlines()]
    assert rows[1]["responses_create_params"]["input"] == [{"role": "user", "content": "Take 4."}]
    write_rows(tmp_path / "raw.jsonl", {"n": 3, "expected_total": 3}, {"expected_total": 4})
    (tmp_path / "made.jsonl").unlink()
    done = gym_ray(*words)
    assert done.returncode == 2
    assert "raw.jsonl:2: n: the prompt needs this field" in done.stderr
    assert not list(tmp_path.glob("made*"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["env=mcqa", "count=x"], "count=x: must be a whole number"),
        (["env=mcqa", "count=1", "cuont=1"], "`cuont` is no setting here; nearest: count"),
        (["env=mcqa", "count=1", "difficulty=brutal"], "difficulty=brutal: must be one of easy, medium, hard"),
        (["count=1"], "env=NAME is missing"),
    ],
)
def test_render_explains_its_mistakes(gym_ray: Command, words: list[str], message: str) -> None:
    done = gym_ray("tasks", "render", *words)
    assert (done.returncode, done.stderr.strip()) == (2, f"gym-ray: {message}")


def test_render_generates_the_same_rows_for_the_same_seed(tmp_path: Path, gym_ray: Command) -> None:
    many, few = (gym_ray("tasks", "render", "env=math", f"count={n}", "seed=3") for n in (20, 5))
    assert many.returncode == 0, many.stderr
    assert many.stdout.splitlines()[:5] == few.stdout.splitlines()
    assert len(many.stdout.splitlines()) == 20


def test_a_new_environment_passes_its_test_and_a_broken_one_does_not(tmp_path: Path, gym_ray: Command) -> None:
    gym_ray("env", "new", "store")
    done = gym_ray("env", "test", "store/store.py:Store")
    assert done.returncode == 0, done.stdout + done.stderr
    server = tmp_path / "store/store.py"
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/store.py").write_text(server.read_text().replace("total == task", "total != task"))
    for name in ("examples.jsonl", "golden.jsonl"):
        (tmp_path / "broken" / name).write_text((tmp_path / "store" / name).read_text())
    done = gym_ray("env", "test", "broken/store.py:Store")
    assert done.returncode == 1
    assert "task 0 (one call): reward 0, expected reward 1" in done.stdout
