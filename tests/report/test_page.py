"""The report's data and file: numbers are the profile's, nothing escapes its block, nothing comes from outside."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from importlib.resources import files
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gym_ray.cli.main import main
from gym_ray.runs.groups import read_groups
from gym_ray.runs.profile import profile_run
from gym_ray.runs.read import read_run
from gym_ray.runs.report.detail import detail_of
from gym_ray.runs.report.overview import overview
from gym_ray.runs.report.page import SCRIPTS, inert_json, live_page, report_page
from gym_ray.runs.report.texts import TokenTexts
from tests.support.shown_runs import EVIL, HOSTILE, WEIGHTS, shown_run


@pytest.fixture
def run(tmp_path: Path) -> str:
    return shown_run(tmp_path / "run")


def test_an_overview_is_the_profile_and_more(run: str) -> None:
    made = overview(read_run(run), read_groups(run))
    profile = profile_run(run)
    assert {name: made[name] for name in profile} == profile
    assert made["rewards"]["office"]["bins"] == [[0.0, 5], [0.25, 6], [0.5, 5], [1.0, 10]]
    means = {phase: its["mean"] for phase, its in made["seconds"]["office"].items()}
    assert means == {"seed": 0.125, "model": 0.75, "tools": 0.5, "verify": 0.25, "other": 0.375, "total": 2.0}
    assert [(one["environment"], one["kind"], one["count"]) for one in made["failures"]] == [
        (EVIL, "session_lost", 1),
        (EVIL, "judge_failed", 1),
        ("office", "session_lost", 1),
        ("office", "judge_failed", 1),
    ]
    assert made["failures"][2]["reasons"] == [{"reason": "gone", "count": 1}]
    assert made["timeline"]["start"] == 1_700_000_000.0


def test_a_rollout_in_full(run: str) -> None:
    rollout = next(read_groups(run, tokens=True)).rollouts[0]
    detail = detail_of(rollout, TokenTexts(Path(WEIGHTS)), 1000, 1000)
    assert [(item["kind"], item["turn"]) for item in detail["items"]] == [
        ("reasoning", 1),
        ("call", 1),
        ("result", None),
        ("message", 2),
    ]
    (segment,) = detail["segments"]
    assert segment["ids"] == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert segment["sampled"] == [(0, 3), (1, 3), (0, 1), (1, 2)]
    assert segment["logprobs"] == [-0.01, -1.2, -3.5, -0.2, -7.0]
    assert segment["versions"] == [(3, 3), (4, 2)]
    assert set(detail["vocabulary"]) == {str(token) for token in range(1, 10)}
    assert all(detail["vocabulary"].values())


def test_long_texts_and_many_tokens_are_cut_and_say_so(run: str) -> None:
    rollout = next(read_groups(run, tokens=True)).rollouts[0]
    detail = detail_of(rollout, TokenTexts(None), 5, 4)
    assert detail["items"][0]["text"] == "I sho"
    assert detail["items"][0]["more"] == len("I should look up 0. ") - 5
    assert (detail["segments"][0]["ids"], detail["tokens_left_out"]) == ([1, 2, 3, 4], 5)
    assert detail["segments"][0]["logprobs"] == [-0.01]


@given(st.recursive(st.text() | st.none() | st.integers(-9, 9), lambda inner: st.dictionaries(st.text(), inner)))
def test_data_cannot_leave_its_block(value: object) -> None:
    text = inert_json(value)
    assert not re.search("[<>&\u2028\u2029]", text)
    assert orjson.loads(text) == value


def test_the_file_is_whole_and_its_policy_lets_nothing_else_in(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", run]) == 0
    assert "36 of 36 rollouts in full" in capsys.readouterr().out
    html = Path(run, "report.html").read_text()
    assert not re.search(r"""(src|href)=["']?(?!data:|#)[a-z]*:?//""", html.replace("http://www.w3.org/2000/svg", ""))
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', html)
    assert policy
    for tag in ("style", "script"):
        (body,) = re.findall(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        assert f"'sha256-{b64encode(sha256(body.encode()).digest()).decode()}'" in policy[1]
    assert policy[1].startswith("default-src 'none'")
    assert "unsafe" not in policy[1]
    assert "connect-src 'none'" in policy[1]
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    assert data
    held = orjson.loads(data[1])
    assert any(HOSTILE in item["text"] for one in held["sample"]["details"].values() for item in one["items"])
    assert held["status"]["state"] == "complete"


def test_the_live_page_may_ask_its_own_server_only() -> None:
    assert "connect-src 'self';" in live_page().headers["content-security-policy"]
    assert live_page().html != report_page({}).html


def test_the_script_never_parses_markup() -> None:
    script = "".join(files("gym_ray.runs.report").joinpath(f"static/{name}.js").read_text() for name in SCRIPTS)
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "DOMParser", "eval(", "Function("):
        assert way not in script


def test_mistakes_are_one_line(run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path / "nothing")]) == 2
    assert main(["report", run, "--rollouts", "none"]) == 2
    assert main(["report", run, "--tokenizer", str(tmp_path)]) == 2
    assert main(["view", run, "--port", "99999"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4
    assert "no tokenizer.json in" in lines[2]
