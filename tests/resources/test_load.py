"""From a path to a class, in this process and in others."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from gym_ray.resources.files import import_file, module_name
from gym_ray.resources.load import ServerCode, absolute_path, load_server, make_server
from gym_ray.types.errors import UserError
from tests.resources.helpers import SERVERS, config

CODE = """
from gym_ray.resources.server import ResourcesServer
from neighbour import VALUE

class Env(ResourcesServer):
    async def verify(self, task, trajectory, session):
        return VALUE
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    folder = tmp_path / "v1.2 beta"
    folder.mkdir()
    (folder / "neighbour.py").write_text("VALUE = 0.75\n")
    path = folder / "my env.py"
    path.write_text(CODE)
    return path


def test_a_module_path() -> None:
    found = load_server("tests.resources.servers:Counter")
    assert found.__name__ == "Counter"


def test_modules_of_the_working_directory_are_found(file: Path) -> None:
    (file.parent / "my_env.py").write_text(CODE)
    code = "from gym_ray.resources.load import load_server; print(load_server('my_env:Env').__name__)"
    command = [sys.executable, "-P", "-c", code]
    done = subprocess.run(command, cwd=file.parent, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.strip() == "Env", done.stderr


def test_a_file_is_loaded_once(file: Path) -> None:
    assert load_server(f"{file}:Env") is load_server(f"{file.parent}/../{file.parent.name}/{file.name}:Env")


def test_a_relative_path_can_be_made_absolute(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    absolute = absolute_path("my env.py:Env")
    monkeypatch.chdir("/")
    assert load_server(absolute).__name__ == "Env"
    assert absolute_path("a.b:C") == "a.b:C"


def test_a_class_from_a_file_unpickles_in_a_process_that_never_loaded_it(file: Path) -> None:
    found = load_server(f"{file}:Env")
    assert found.__module__ == module_name(str(file))
    code = "import pickle, sys; print(pickle.load(sys.stdin.buffer).__name__)"
    given = pickle.dumps(found)
    done = subprocess.run([sys.executable, "-c", code], input=given, capture_output=True, timeout=60, check=True)
    assert done.stdout.strip() == b"Env"


def test_code_travels_to_a_machine_without_the_file(file: Path) -> None:
    (file.parent / "neighbour.py").unlink()
    file.write_text(CODE.replace("from neighbour import VALUE", "VALUE = 0.75"))
    code = pickle.loads(pickle.dumps(ServerCode.read(f"{file}:Env")))
    assert code.install() == f"{file}:Env"
    file.unlink()
    copy = code.install()
    assert copy != code.path
    assert load_server(copy).__name__ == "Env"
    assert ServerCode.read("a.b:C") == ServerCode("a.b:C", None)


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("Counter", ["package.module:Class"]),
        ("gym_ray.resources:no-name", ["package.module:Class"]),
        ("gym_ray.resorces.server:X", ["no module gym_ray.resorces", "`gym_ray.resources`"]),
        ("gym_rai:X", ["no module gym_rai", "`gym_ray`"]),
        (f"{SERVERS}:Conter", ["no class `Conter`", "did you mean `Counter`"]),
        (f"{SERVERS.parent}/server.py:Counter", ["no file", "`servers.py`"]),
        (f"{SERVERS.parent}/nowhere/x.py:Counter", ["no folder"]),
        (f"{SERVERS.parent}:Counter", ["no file"]),
        (f"{SERVERS}:Point", ["not a subclass"]),
        (f"{SERVERS}:NoVerify", ["must define `async def verify`"]),
        (f"{SERVERS}:SyncTool", ["`add` must be `async def`"]),
        (f"{SERVERS}:Untyped", ["`amount` needs a type annotation"]),
    ],
)
def test_a_wrong_path_is_one_line_that_names_it(path: str, parts: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        load_server(path)
    assert all(part in str(caught.value) for part in [f"`{path}`", *parts]), str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("code", ["import no_such_module_at_all", "def f(:", "1 / 0"])
def test_a_file_that_cannot_be_imported(tmp_path: Path, code: str) -> None:
    (tmp_path / "broken.py").write_text(code)
    with pytest.raises(UserError, match=r"cannot be imported"):
        load_server(f"{tmp_path}/broken.py:Env")


def test_importing_a_missing_file_is_a_module_not_found(tmp_path: Path) -> None:
    with pytest.raises(ModuleNotFoundError):
        import_file(str(tmp_path / "missing.py"))


def test_options_that_the_class_does_not_take() -> None:
    with pytest.raises(UserError, match=r"cannot be made from its options.*colour"):
        make_server(config("Counter", options={"colour": "red"}))
