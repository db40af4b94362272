"""What users get wrong: each mistake is told in one line that names the place and the mend, before Ray starts."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from gym_ray.cli.main import main
from gym_ray.collect import driver
from tests.support.scripted_runs import scripted, write_run

ENDPOINT = ("model=openai", "model.base_url=http://127.0.0.1:9/v1", "model.name=m")
ROW = {"responses_create_params": {"input": "?"}, "options": [{"A": "x"}, {"B": "y"}], "expected_answer": "A"}
SERVER = 'from gym_ray import ResourcesServer, tool\n\n\nclass Mine(ResourcesServer):\n    """Mine."""\n'


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder, with files that are wrong in one way each."""

    def no_ray() -> None:
        raise AssertionError("Ray was started for a mistake")

    monkeypatch.setattr(driver, "ray_session", no_ray)
    monkeypatch.chdir(tmp_path)
    row = json.dumps(ROW)
    files = {
        "cut.jsonl": "\n".join([row] * 6 + [row[:40]]),
        "field.jsonl": "\n".join([row, json.dumps({**ROW, "options": "none"})]),
        "empty.jsonl": "",
        "array.json": json.dumps([ROW], indent=1),
        "table.csv": "a,b\n",
        "folder/notes.txt": "none here",
        "syntax.py": "class Mine(\n",
        "package.py": "import no_such_package\n" + SERVER,
        "noverify.py": SERVER,
        "notool.py": SERVER + "    @tool\n    async def go(self, session, where): ...\n"
        "    async def verify(self, task, trajectory, session):\n        return 1.0\n",
    }
    for name, text in files.items():
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(text)
    Path("packed.jsonl").write_bytes(gzip.compress(row.encode()))
    return tmp_path


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("tasks=missing.jsonl", "tasks: missing.jsonl: no such file or directory, or no task file in it"),
        ("tasks=folder", "tasks: folder: no such file or directory, or no task file in it"),
        ("tasks=cut.jsonl", "cut.jsonl:7: row: not JSON: unexpected end of data"),
        ("tasks=field.jsonl", "field.jsonl:2: options: "),
        ("tasks=empty.jsonl", "tasks: no task for mcqa in empty.jsonl"),
        (
            "tasks=array.json",
            "array.json: JSON over several lines; tasks are one object per line: jq -c '.[]' array",
        ),
        ("tasks=packed.jsonl", "packed.jsonl: compressed, and its name does not say so: it must end in .gz"),
        ("tasks=table.csv", "tasks: table.csv: unknown format (known: "),
        ("tasks=nowhere://bucket/x.jsonl", "nowhere://bucket/x.jsonl: no filesystem for `nowhere://`"),
        ("run_dir=table.csv", "table.csv is a file: a run is a directory, choose another"),
        ("run_dir=folder", "folder is not empty and no run directory (it has notes.txt): choose another"),
        ("run_dir=/proc/nothing", "cannot write /proc/nothing: No such file or directory"),
        ("model.base_url=127.0.0.1:8000/v1", "model.base_url: an address must look like http://host:port/v1"),
        ("model.base_url=ftp://host/v1", "model.base_url: an address must look like http://host:port/v1"),
        ("model.api_key_env=NO_SUCH_KEY", "model.api_key_env: the environment variable NO_SUCH_KEY is not set"),
        ("judge=nothing", "judge=nothing: no such choice"),
        ("collect.rollouts_per_task=-1", "collect.rollouts_per_task: input should be greater than or equal to 1"),
        ("notes.txt", "`notes.txt` is no key=value"),
    ],
)
def test_a_collection_that_cannot_be(folder: Path, capsys: pytest.CaptureFixture[str], words: str, line: str) -> None:
    assert main(["collect", "env=mcqa", *ENDPOINT, *words.split()]) == 2
    told = capsys.readouterr().err
    assert any(one.removeprefix("gym-ray: ").startswith(line) for one in told.splitlines()), told
    assert not list(folder.glob("runs/*")), "a run that could not be planned leaves no directory"


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("syntax.py:Mine", "cannot be imported: SyntaxError: '(' was never closed (syntax.py, line 1)"),
        ("package.py:Mine", "cannot be imported: ModuleNotFoundError: No module named 'no_such_package'"),
        ("noverify.py:Mine", "Mine must define `async def verify`"),
        ("noverify.py:Yours", "no class `Yours` in "),
        ("notool.py:Mine", "parameter `where` needs a type annotation"),
        ("notol.py:Mine", "did you mean `notool.py`?"),
        ("mcqa env.options.style=x", "envs.mcqa.options.style: Mcqa has no such option; "),
        ("gymnasium env.options.idd=x", "envs.gymnasium.options.idd: Gymnasium has no such option; did you mean `id`?"),
        ("equivalence_llm_judge", "asks the judge `default`, and there is none: judge=openai judge.base_url=http"),
    ],
)
def test_an_environment_that_cannot_be(capsys: pytest.CaptureFixture[str], name: str, line: str) -> None:
    assert main(["collect", *f"env={name}".split(), *ENDPOINT]) == 2
    (told,) = [one for one in capsys.readouterr().err.splitlines() if one.startswith("gym-ray: ")]
    assert line in told


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("export nowhere --to openai_sft out=x", "nowhere is no run directory: it has no config.yaml"),
        ("export nowhere --to opnai_sft out=x", "--to opnai_sft: no such format"),
        ("export nowhere", "--to FORMAT is missing"),
        ("profile nowhere --k 0", "--k 0"),
        ("report nowhere --rollouts 0", "--rollouts 0: a whole number from 1 on"),
        ("runs list nowhere", "no folder nowhere"),
        ("tasks render env=mcqa count=-3", "count=-3: must be a whole number"),
    ],
)
def test_other_verbs(capsys: pytest.CaptureFixture[str], words: str, line: str) -> None:
    assert main(words.split()) == 2
    assert line in capsys.readouterr().err.splitlines()[0]


@pytest.mark.parametrize(
    ("words", "setting"),
    [
        ("profile RUN --threshold math=1", "--threshold"),
        ("report RUN --threshold 0.5 --threshold math=1", "--threshold"),
        ("compare RUN RUN --threshold math=1", "--threshold"),
        ("export RUN --to openai_sft out=sft env=quiz,math", "env"),
    ],
)
def test_environments_that_a_run_has_not(capsys: pytest.CaptureFixture[str], words: str, setting: str) -> None:
    rollouts = [scripted(0, 0, 1.0), scripted(1, 0, 0.0)]
    run = write_run(Path("run"), rollouts, per_task=1)
    Path("run/config.yaml").write_text("envs: {quiz: {}}\n")
    assert main(words.replace("RUN", run).split()) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"gym-ray: {setting}: no environment `math` in ")
    assert told.endswith("; it has quiz\n")
