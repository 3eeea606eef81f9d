"""The page in a real, headless browser: it loads, follows runs, draws, compares, and fits a phone."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from typer.testing import CliRunner

from striate.cli import app
from striate.lab.server import listening
from tests.lab.conftest import CHECKOUT, sample_record, write_record

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)
NASTY = "<img src=x onerror=alert(1)>"


@dataclass
class Server:
    """`striate lab` as a child process."""

    process: subprocess.Popen[str]
    address: str
    folder: Path

    @property
    def origin(self) -> str:
        return self.address.partition("/?")[0]

    @property
    def port(self) -> int:
        return int(self.origin.rpartition(":")[2])


def opened(*arguments: object) -> Server:
    process = subprocess.Popen(
        [sys.executable, "-m", "striate", "lab", *map(str, arguments), "--no-browser"],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(r"http://127\.0\.0\.1:\d+/\?token=\S+", line):
            return Server(process, found[0], Path(str(arguments[-1])))
    raise AssertionError(f"the lab ended with {process.wait()}")


def closed(server: Server) -> str:
    """Send Ctrl-C and return what the lab prints then."""
    server.process.send_signal(signal.SIGINT)
    output, _ = server.process.communicate(timeout=40)
    assert server.process.returncode == 0, output
    assert "Traceback" not in output
    return output


@pytest.fixture(scope="module")
def server(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A lab with the trained run, one that another process trains, and one with a malicious name."""
    base = tmp_path_factory.mktemp("page")
    lab = base / "lab"
    lab.mkdir()
    write_record(lab / "001-mlp", sample_record(4))
    named = base / NASTY.replace("/", "")
    shutil.copytree(run, named)
    found = opened(named, "--folder", lab)
    yield found
    if found.process.poll() is None:
        closed(found)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright opens the page; it is not installed")
    if not CHROMIUM:
        pytest.skip("there is no chromium on this computer to open the page in")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@contextlib.contextmanager
def page_of(browser: Any, server: Server, width: int = 1280, height: int = 900) -> Iterator[Any]:
    """Open a page with the key; errors on its console and requests to other hosts fail the test."""
    context = browser.new_context(viewport={"width": width, "height": height})
    page = context.new_page()
    page.set_default_timeout(20_000)
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: wrong.append(request.url) if not request.url.startswith(server.origin) else None)
    page.goto(server.address)
    page.wait_for_selector(".run", state="attached")
    yield page
    assert not [text for text in wrong if not text.startswith("blob:")]
    context.close()


def draw(page: Any, points: list[tuple[float, float]]) -> None:
    """Draw a stroke on the pad, with points in fractions of its side."""
    box = page.locator(".pad").bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=6)
    page.mouse.up()


def answer(page: Any, digit: str) -> None:
    page.wait_for_function("digit => document.querySelector('.answer b')?.textContent === digit", arg=digit)


def test_it_opens_without_errors_and_without_the_key_in_its_address(browser: Any, server: Server) -> None:
    with page_of(browser, server) as page:
        assert page.url == f"{server.origin}/#follow"
        assert page.title() == "striate lab"
        page.wait_for_selector("#follow .run-head h2")
        assert NASTY.replace("/", "") in page.locator("#runs").inner_text()  # a name is text, whatever it holds
        assert page.locator("#runs img").count() == 0
        page.focus("#tab-follow")
        page.keyboard.press("ArrowRight")
        page.wait_for_selector(".pad")
        assert page.locator("#tab-look").get_attribute("aria-selected") == "true"
        page.keyboard.press("ArrowRight")
        assert page.locator("#compare").is_visible()


def test_a_record_shows_its_flow_and_its_silent_units(browser: Any, server: Server) -> None:
    with page_of(browser, server) as page:
        page.click(".run:has-text('001-mlp')")
        page.wait_for_selector(".flow-row")
        page.wait_for_function("() => document.querySelectorAll('.flow-row').length === 2")
        assert "vanishes" in page.locator(".finding-line").first.inner_text()
        assert page.locator(".squares i").count() == 4
        assert page.locator(".squares .silent").count() == 2
        changes = [{"change": "Normalize", "paths": ["1"], "ranks": [2]}, {"change": "LearningRate", "lr": 0.2}]
        remedy = {"text": "Normalize.", "code": "", "command": "--lr 0.2", "changes": changes}
        finding = {"kind": "loss_at_chance", "severity": "warning", "where": "2", "units": [], "sureness": 0.9,
                   "evidence": {"loss": 2.3}, "message": "It only guesses.", "why": "", "remedy": remedy}  # fmt: skip
        write_record(server.folder / "001-mlp", [{"time": 1.0, **finding}])
        page.wait_for_selector(".finding h4:has-text('It only guesses.')")
        page.click("text=Train with this remedy")
        assert page.locator("#field-norm").input_value() == "before_activation"
        assert page.locator("#field-lr").input_value() == "0.2"


def test_drawing_changes_the_prediction(browser: Any, server: Server) -> None:
    with page_of(browser, server) as page:
        page.click(".run:has-text('img')")
        page.click("#tab-look")
        page.wait_for_selector(".layer-card canvas")  # of the example that it opens with
        page.click("text=Clear")
        assert page.locator(".layer-card").count() == 0
        draw(page, [(0.5, 0.12), (0.5, 0.88)])
        answer(page, "1")
        took = int(re.search(r"in (\d+) ms", page.locator("#look .note").inner_text())[1])  # type: ignore[index]
        assert took < 1000  # about 10 ms on an idle computer; tests share theirs
        before = page.locator(".layer-card").nth(1).locator(".range").inner_text()
        page.click("text=Clear")
        ring = [(0.5, 0.15), (0.3, 0.35), (0.3, 0.65), (0.5, 0.87), (0.7, 0.65), (0.7, 0.35), (0.5, 0.15)]
        draw(page, ring)
        answer(page, "0")
        assert page.locator(".layer-card").nth(1).locator(".range").inner_text() != before
        assert page.locator(".layer-card b").all_inner_texts()[:2] == ["standardize", "conv 5×5, 1 → 16"]


def test_a_picture_is_dropped_in_and_a_bad_one_is_refused(browser: Any, server: Server) -> None:
    with page_of(browser, server) as page:
        page.click(".run:has-text('img')")
        page.click("#tab-look")
        page.wait_for_selector(".layer-card canvas")
        page.set_input_files("#file", CHECKOUT / "examples" / "seven.png")
        answer(page, "7")
        page.set_input_files("#file", {"name": "x.png", "mimeType": "image/png", "buffer": b"none"})
        page.wait_for_selector("#look .banner:has-text('cannot be read')")
        page.set_input_files("#file", {"name": "x.svg", "mimeType": "image/svg+xml", "buffer": b"<svg/>"})
        page.wait_for_selector("#look .banner:has-text('Only PNG and JPEG')")


def test_one_can_draw_with_the_keyboard(browser: Any, server: Server) -> None:
    with page_of(browser, server) as page:
        page.click(".run:has-text('img')")
        page.click("#tab-look")
        page.wait_for_selector(".layer-card canvas")
        page.focus(".pad")
        page.keyboard.press("Delete")
        for key in ("ArrowUp",) * 9 + ("Space",) + ("ArrowDown",) * 18 + ("Space",):
            page.keyboard.press(key)
        answer(page, "1")


def test_curves_appear_while_a_training_runs_and_it_can_be_stopped(browser: Any, server: Server) -> None:
    with page_of(browser, server) as page:
        page.click("#new")
        page.fill("#field-epochs", "1000")
        page.select_option("#field-activation", "relu")
        page.wait_for_selector(".activation .derivative")
        page.click("text=Start training")
        page.wait_for_selector("#follow .chip.running")
        page.wait_for_selector("#follow .curves:has(h3:text-is('Accuracy')) .legend li:has-text('held-out')")
        page.wait_for_selector(".flow-row .bar.good")
        label = "() => document.querySelector('#follow .stage').getAttribute('aria-label')"
        first = page.evaluate(label)
        page.wait_for_function(f"before => ({label})() !== before", arg=first)
        painted = page.evaluate(
            "() => { const c = document.querySelector('#follow .stage canvas');"
            " return c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(v => v > 0) }"
        )
        assert painted
        page.click("text=Stop and keep")
        page.wait_for_selector("#follow .chip.stopped")
        page.click("#tab-look")
        page.wait_for_selector(".layer-card canvas")
        page.click("#tab-compare")
        page.check("#runs li:has-text('img') input")
        page.wait_for_selector(".runs-table .differs:has-text('ReLU')")
        assert "activation" in page.locator("#compare .lead").inner_text()


@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_is_wider_than_the_screen(browser: Any, server: Server, width: int) -> None:
    with page_of(browser, server, width, 780) as page:
        for name in ("img", "001-mlp"):
            if width == 360:
                page.click("#run-list summary")
            page.click(f".run:has-text('{name}')")
            for tab in ("follow", "look", "compare"):
                page.click(f"#tab-{tab}")
                page.wait_for_timeout(150)
                assert page.evaluate("document.documentElement.scrollWidth") <= width, (name, tab)
        page.click("#new")
        page.wait_for_selector("#field-model")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate("document.querySelector('dialog').scrollWidth") <= width


def request(server: Server, headers: dict[str, str], method: str = "GET", path: str = "/") -> int:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.putrequest(method, path, skip_host=True)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    with contextlib.closing(connection):
        return connection.getresponse().status


def test_it_listens_on_this_computer_alone_and_answers_at_once() -> None:
    with contextlib.closing(listening(0)) as found:
        assert found.getsockname()[0] == "127.0.0.1"
        assert found.proto == socket.IPPROTO_TCP  # or asyncio leaves Nagle's algorithm on


@pytest.mark.slow
def test_the_server_itself(server: Server) -> None:
    host = urlsplit(server.origin).netloc
    query = urlsplit(server.address).query
    assert request(server, {"Host": host}) == 403
    assert request(server, {"Host": host}, path=f"/?{query}") == 303
    assert request(server, {"Host": "evil.example"}, path=f"/?{query}") == 421
    assert request(server, {"Host": host, "X-Forwarded-Host": "evil.example", "X-Forwarded-For": "10.0.0.1"}) == 403
    big = {"Host": host, "Origin": server.origin, "Content-Length": "9000000000", "Content-Type": "image/png"}
    assert request(server, big, "POST", "/api/runs/x/look") == 403  # without a byte of it
    if sys.platform == "linux":
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", server.port), timeout=5)


def start_training(server: Server) -> None:
    """Start a training that would take minutes."""
    import httpx

    with httpx.Client(base_url=server.origin, headers={"Origin": server.origin}) as client:
        assert client.get(server.address).status_code == 303
        order = {"model": "first_cnn", "epochs": 1000, "batch_size": 2}
        assert client.post("/api/trainings", json=order).status_code == 201


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 40
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.slow
def test_ctrl_c_stops_the_lab_and_the_training(tmp_path: Path) -> None:
    found = opened("--folder", tmp_path / "lab")
    start_training(found)
    run = tmp_path / "lab" / "001-first_cnn"
    wait_until(lambda: (run / "progress.jsonl").exists())
    output = closed(found)
    assert "stopping the training" in output
    assert "the lab is closed" in output
    assert (run / "model.safetensors").is_file()
    assert '"finished": false' in (run / "run.json").read_text()


@pytest.mark.slow
def test_a_second_ctrl_c_leaves_at_once_and_takes_the_training_along(tmp_path: Path) -> None:
    found = opened("--folder", tmp_path / "lab")
    start_training(found)
    run = tmp_path / "lab" / "001-first_cnn"
    record = run / "progress.jsonl"
    wait_until(lambda: record.exists() and record.read_text().count("\n") > 1)  # it trains, and answers to signals
    for _ in range(2):
        found.process.send_signal(signal.SIGINT)
        time.sleep(0.02)
    output, _ = found.process.communicate(timeout=40)
    assert "Traceback" not in output
    wait_until(lambda: '"end"' in record.read_text())


@pytest.mark.slow
def test_a_missing_extra_is_told() -> None:
    program = "import sys; sys.modules['starlette'] = None\nfrom striate.cli import main\nmain()"
    result = subprocess.run(
        [sys.executable, "-c", program, "lab", "--no-browser"],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert result.returncode == 2
    assert "pip install 'striate[lab]'" in result.stderr


def test_a_wrong_folder_and_a_port_that_is_taken(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["lab", str(tmp_path / "none")])
    assert result.exit_code == 2
    assert "no such folder" in result.stderr
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = CliRunner().invoke(app, ["lab", "--port", port, "--folder", str(tmp_path), "--no-browser"])
    assert result.exit_code == 2
    assert re.search(r"--port \d+: .*\n  help: leave it out", result.stderr)
