"""The page in a real Chromium: what people do with it, by mouse and by keyboard (``scripts/test_browser``)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gym_ray.runs.report.write import write_report
from tests.support.endpoint import EndpointProcess
from tests.support.shown_runs import EVIL, WEIGHTS, LiveRun, shown_rollouts, shown_run
from tests.support.views import viewed

pytestmark = pytest.mark.browser
TOLD = """document.title + document.body.innerText + [...document.querySelectorAll('body *')].map(
    one => one.ariaLabel + one.title + (one.tagName === 'OPTION' ? one.text : '')).join()"""
"""What the page shows and what it says to a screen reader."""
NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    # Its own sandbox refuses to start for root, as in most containers.
    flags = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=flags)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    """A fresh page. Nothing may be said on its console, and nothing asked of anybody but the run's own server."""
    context = chromium.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.set_default_timeout(20_000)
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    yield page
    foreign = [url for url in asked if not url.startswith(("file://", "http://127.0.0.1:", "data:"))]
    assert (said, foreign) == ([], [])
    assert page.evaluate("window.owned") is None
    context.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    run = shown_run(tmp_path_factory.mktemp("report") / "run")
    write_report(run, tokenizer=WEIGHTS)
    return f"file://{run}/report.html"


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with viewed(shown_run(tmp_path_factory.mktemp("view") / "run")) as url:
        yield url


@pytest.fixture(params=["report", "live"])
def url(request: pytest.FixtureRequest) -> str:
    found: str = request.getfixturevalue(request.param)
    return found


def rows(page: Any) -> list[str]:
    return [text.replace("\n", " ") for text in page.locator(".row").all_inner_texts()]


def until(page: Any, selector: str, text: str) -> None:
    """Wait for an element that says ``text``. (The page's policy forbids the driver to wait with code of its own.)"""
    page.locator(selector, has_text=text).first.wait_for()


def summary(page: Any, text: str) -> None:
    until(page, ".list-summary", text)


def test_the_overview_has_every_part(page: Any, url: str) -> None:
    page.goto(url)
    page.wait_for_selector("h2")
    assert page.locator("h2").all_inner_texts() == [
        "Environments",
        "Rewards and success",
        "Over time",
        "Where time went",
        "Failed and masked",
        "Shape",
        "Run",
    ]
    charts = page.locator("svg[role=img]")
    charts.nth(10).wait_for()
    assert all(one.get_attribute("aria-label") for one in charts.all())
    cells = page.locator("tbody tr", has_text="office").first.inner_text().split()
    assert cells[1:6] == ["7", "26", "1", "1", "0"]
    page.click("button.link.failed >> nth=0")
    summary(page, "of 1")
    assert "session_lost" in rows(page)[0]


def test_filters_go_together(page: Any, url: str) -> None:
    page.goto(f"{url}#rollouts")
    summary(page, "of 36")
    page.select_option("[name=environment]", label="office")
    summary(page, "of 28")
    page.select_option("[name=outcome]", "scored")
    page.fill("[name=reward_min]", "0.5")
    summary(page, "of 15")
    page.select_option("[name=sort]", "reward")
    until(page, ".row:first-child .row-reward", "0.5")
    page.select_option("[name=descending]", "1")
    until(page, ".row:first-child .row-reward", "1")
    page.fill("[name=text]", "person 7 of TASK 4")
    summary(page, "found in 15 of 15")
    assert all("office-4" in row for row in rows(page))
    page.fill("[name=text]", "nobody said this")
    summary(page, "0 found")


def test_a_rollout_turn_by_turn(page: Any, url: str) -> None:
    page.goto(f"{url}#rollouts/0/1")
    page.wait_for_selector(".said.call")
    assert page.locator(".said .who").all_inner_texts() == [
        "user",
        "reasoning",
        "calls find_person",
        "tool error",
        "assistant",
    ]
    assert "turn 1" in page.locator(".said.call").inner_text()
    assert "turn 2" in page.locator(".said.assistant").inner_text()
    assert not page.locator(".said.reasoning pre").is_visible()
    page.click(".said.reasoning summary")
    assert page.locator(".said.reasoning pre").inner_text() == "I should look up 0. "
    page.click("#tab-row")
    assert page.locator(".fields dt").all_inner_texts()[:2] == ["expected", "n"]


def test_tokens_tell_what_they_are(page: Any, url: str) -> None:
    page.goto(f"{url}#rollouts/0/1/tokens")
    page.wait_for_selector(".flow")
    tokens = page.locator(".flow .token")
    assert tokens.count() == 9
    kinds = [one.get_attribute("class") for one in tokens.all()]
    assert [kind.split()[1] for kind in kinds] == ["masked"] * 3 + ["sampled"] * 3 + ["masked"] + ["sampled"] * 2
    assert [kind.split()[2] for kind in kinds if "sampled" in kind] == ["s1", "s4", "s6", "s2", "s7"]
    tokens.nth(4).hover()
    told = page.locator("#readout")
    assert "id 5" in told.inner_text()
    assert "1.2000 (p 30.12 %) · sampled in turn 1 · policy version 3" in told.inner_text()
    page.focus(".tokens")
    page.keyboard.press("End")
    assert "policy version 4" in told.inner_text()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert "masked" in told.inner_text()


def test_a_group_side_by_side(page: Any, url: str) -> None:
    page.goto(f"{url}#rollouts/3/0/group")
    page.wait_for_selector(".side")
    heads = [text.replace("\n", " ") for text in page.locator(".side > header").all_inner_texts()]
    assert [head.split()[0] for head in heads] == ["#0", "#1", "#2", "#3"]
    assert "masked" in heads[2]
    assert "reward 1" in heads[3]
    page.click(".side >> nth=2 >> header button")
    page.wait_for_selector(".said.verdict")
    assert "the judge was away" in page.locator(".said.verdict").inner_text()


def test_all_of_it_by_keyboard(page: Any, url: str) -> None:
    page.goto(f"{url}#rollouts")
    summary(page, "of 36")
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "rows":
            break
    assert page.evaluate("document.activeElement.id") == "rows"
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none"
    for _ in range(3):
        page.keyboard.press("ArrowDown")
    until(page, ".verdict h2", "office-0 #2")
    assert page.locator(".row[aria-selected=true]").count() == 1
    assert page.evaluate("document.getElementById('rows').getAttribute('aria-activedescendant')") == "row-2"
    page.focus("#tab-conversation")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector(".flow")
    assert page.evaluate("document.activeElement.id") == "tab-tokens"
    for landmark in ("header", "main", "nav[aria-label]", "[role=search]"):
        assert page.locator(landmark).count() >= 1
    unnamed = "one => !one.labels?.length && !one.ariaLabel && !one.textContent.trim()"
    assert page.evaluate(f"[...document.querySelectorAll('button, input, select')].filter({unnamed}).length") == 0


def test_hostile_text_is_shown_and_does_nothing(page: Any, url: str) -> None:
    page.goto(url)
    page.wait_for_selector("h2")
    assert page.locator("img, iframe, object, embed, main script, b:has-text('RLO')").count() == 0
    page.goto(f"{url}#rollouts/8/0")
    page.wait_for_selector(".said.assistant")
    shown = page.locator(".said.assistant pre").inner_text()
    parts = ("<img src=x onerror=", "</script><script>", "ESC[31mred", "RLOgnp.exeLRI", "ZWSPjavascript:", "{{SCRIPT}}")
    assert all(part in shown for part in parts)
    assert page.locator("img, iframe, object, embed, main script").count() == 0
    marks = set(page.locator(".said.assistant .hidden-character").all_inner_texts())
    assert marks == {"ESC", "BEL", "RLO", "LRI", "ZWSP", "U+2028"}
    for tab in ("group", "row", "tokens"):
        page.click(f"#tab-{tab}")
        page.wait_for_selector({"group": ".side", "row": ".fields", "tokens": ".flow"}[tab])
    assert "\u202e" not in page.evaluate(TOLD)
    options = page.locator("[name=environment] option").all_text_contents()
    assert EVIL.replace("\u202e", "⟨RLO⟩") in options


def test_both_colours_and_a_narrow_window(page: Any, url: str) -> None:
    page.goto(url)
    page.wait_for_selector("h2")
    paper = "getComputedStyle(document.body).backgroundColor"
    page.emulate_media(color_scheme="light")
    light = page.evaluate(paper)
    page.emulate_media(color_scheme="dark")
    dark = page.evaluate(paper)
    assert light != dark
    page.click(".theme")
    assert page.evaluate(paper) == light
    page.click(".theme")
    assert page.evaluate(paper) == dark
    page.set_viewport_size({"width": 420, "height": 860})
    assert page.evaluate("document.documentElement.scrollWidth") <= 420
    page.goto(f"{url}#rollouts")
    page.click(".row >> nth=1")
    page.wait_for_selector(".verdict")
    assert not page.locator("#rows").is_visible()
    page.click(".back")
    assert page.locator("#rows").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 420


def test_a_live_run_grows_while_it_is_watched(page: Any, tmp_path: Path) -> None:
    run, rollouts = LiveRun(tmp_path / "run"), shown_rollouts()
    run.finish(*rollouts[:4])
    with viewed(run.address) as url:
        page.goto(f"{url}#rollouts")
        summary(page, "of 4")
        page.click(".row >> nth=0")
        page.wait_for_selector(".verdict")
        chosen = page.locator(".verdict h2").inner_text()
        run.start(rollouts[20])
        run.finish(*rollouts[4:20])
        summary(page, "of 20")
        assert "1 in flight" in page.locator("#state").inner_text()
        assert page.locator(".verdict h2").inner_text() == chosen
        assert page.locator(".row[aria-selected=true]").count() == 1
        page.click("#to-overview")
        page.wait_for_selector("td")
        page.click("details >> nth=0 >> summary")
        run.finish(*rollouts[20:])
        until(page, "#state", "36 of 36")
        page.locator("tbody", has_text="evil").first.wait_for(timeout=60_000)
        assert page.locator("details[open]").count() == 1
        assert page.evaluate("document.activeElement.tagName") == "SUMMARY"


def test_a_collection_is_watched_from_its_plan_to_its_shards(page: Any, tmp_path: Path) -> None:
    run, tasks = tmp_path / "run", tmp_path / "tasks.jsonl"
    sums = [{"responses_create_params": {"input": f"sum {n} 1"}, "expected": n + 1} for n in range(60)]
    tasks.write_text("".join(json.dumps(row) + "\n" for row in sums))
    with EndpointProcess("tests.support.scripts:play", latency=1.5) as base_url:
        words = [f"env={Path('tests/support/envs.py').resolve()}:Sum", f"tasks={tasks}", f"run_dir={run}"]
        words += ["model=openai", f"model.base_url={base_url}", "model.name=m", "model.max_concurrency=8"]
        command = [sys.executable, "-m", "gym_ray.cli.main", "collect", *words, "collect.rollouts_per_task=4"]
        with subprocess.Popen(command, stderr=subprocess.PIPE) as collecting:
            _wait_for(lambda: (run / "config.yaml").exists() or collecting.poll() is not None)
            with viewed(str(run)) as url:
                page.goto(f"{url}#rollouts")
                assert _asked(f"{url}/api/status")["expected"] == 240
                _wait_for(lambda: _asked(f"{url}/api/status")["found"] >= 8)
                status = _asked(f"{url}/api/status")
                assert (status["live"], status["in_flight"] > 0, status["error"]) == (True, True, "")
                until(page, "#state", "in progress")
                page.locator(".row").first.click()
                page.wait_for_selector(".verdict")
                rows_then = _asked(f"{url}/api/rollouts?limit=50")["rows"]
                detail = _asked(f"{url}/api/rollouts/{rows_then[0]['task']}/{rows_then[0]['index']}")
                assert {name: detail[name] for name in rows_then[0]} == rows_then[0]
                page.click("#to-overview")
                _wait_for(lambda: (_asked(f"{url}/api/overview") or {}).get("timeline"))
                _, said = collecting.communicate(timeout=300)
                assert collecting.returncode == 0, said.decode()[-2000:]
                _wait_for(lambda: _asked(f"{url}/api/status")["state"] == "complete")
                until(page, "#state", "240 of 240")
                _wait_for(lambda: _asked(f"{url}/api/overview")["environments"]["sum"]["scored"] == 240)
                assert _asked(f"{url}/api/rollouts?outcome=scored")["total"] == 240
                assert _asked(f"{url}/api/status")["error"] == ""
                page.locator("tbody tr", has_text="240").first.wait_for(timeout=60_000)


def _asked(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=60) as reply:
        return json.load(reply)


def _wait_for(condition: Callable[[], object], seconds: float = 240.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.2)
