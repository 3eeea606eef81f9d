"""The page in a browser, on a phone and on a desktop, with light and dark colours."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from striate.report import inspect, report_of
from striate.report.material import Material

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome here to open pages with"
)
PHONE, DESKTOP = {"width": 360, "height": 740}, {"width": 1280, "height": 900}

CONTRAST = """() => {
    const channel = c => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
    const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
    const rgba = text => {
        canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = text; canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    const behind = element => {
        for (let at = element; at; at = at.parentElement) {
            const found = rgba(getComputedStyle(at).backgroundColor);
            if (found[3] === 255) return found;
        }
        return [255, 255, 255];
    };
    const bad = [];
    for (const element of document.querySelectorAll("body *")) {
        const own = [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
        if (!own || !element.checkVisibility() || element.closest("svg, .skip-link")) continue;
        const [a, b] = [light(rgba(getComputedStyle(element).color)), light(behind(element))].sort((x, y) => y - x);
        const ratio = (a + 0.05) / (b + 0.05);
        if (ratio < 4.5) bad.push([element.textContent.trim().slice(0, 40), ratio]);
    }
    return bad;
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def page_file(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    inspect(run).save(path)
    return path


class Opened:
    """An open page, and all of its console messages and requests."""

    def __init__(self, browser: Any, path: Path, size: dict[str, int], scheme: str = "light") -> None:
        self.context = browser.new_context(viewport=size, color_scheme=scheme)
        self.page = self.context.new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.said.append("a dialog"), dialog.dismiss()))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri())

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()

    def open_everything(self) -> None:
        self.page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")


@pytest.mark.parametrize(("size", "scheme"), [(PHONE, "light"), (PHONE, "dark"), (DESKTOP, "light"), (DESKTOP, "dark")])
def test_it_opens_without_errors_and_fits(browser: Any, page_file: Path, size: dict[str, int], scheme: str) -> None:
    with Opened(browser, page_file, size, scheme) as opened:
        for everything in (False, True):
            if everything:
                opened.open_everything()
            wide = opened.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
            assert wide[0] <= wide[1], "nothing scrolls sideways but what is made to"
        images = opened.page.evaluate(
            "Promise.all([...document.images].map(one => one.decode().then(() => one.naturalWidth, () => 0)))"
        )
        assert len(images) > 20
        assert all(images)
        assert opened.said == []
        assert [url for url in opened.asked if not url.startswith("data:")] == [page_file.as_uri()]
        assert opened.page.get_by_text("the gradient of layer 0 vanishes").is_visible()
        assert opened.page.evaluate(CONTRAST) == []


def test_landmarks_names_and_texts_instead_of_pictures(browser: Any, page_file: Path) -> None:
    with Opened(browser, page_file, DESKTOP) as opened:
        page = opened.page
        assert page.get_by_role("main").count() == page.get_by_role("navigation").count() == 1
        assert page.get_by_role("heading", level=1).count() == 1
        assert page.evaluate("[...document.images].filter(one => !one.alt).length") == 0
        assert page.evaluate("[...document.querySelectorAll('.chart')].filter(one => !one.ariaLabel).length") == 0
        ids = page.evaluate("[...document.querySelectorAll('[id]')].map(one => one.id)")
        assert len(ids) == len(set(ids))
        for link in page.evaluate("[...document.querySelectorAll('a')].map(one => one.getAttribute('href').slice(1))"):
            assert link in ids


def test_everything_opens_by_keyboard_and_links_open_what_they_lead_to(browser: Any, page_file: Path) -> None:
    with Opened(browser, page_file, PHONE) as opened:
        page = opened.page
        summary = page.get_by_text("The epochs in numbers")
        summary.focus()
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.parentElement.open")
        assert not page.locator("#layer-5").is_visible()
        page.locator('.unit a[href="#layer-5"]').focus()
        page.keyboard.press("Enter")
        page.wait_for_function("document.querySelector('#layer-5').checkVisibility()")
    with Opened(browser, page_file, PHONE) as opened:
        page = opened.page
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the report"


def test_paper_gets_what_is_closed_on_the_screen(browser: Any, page_file: Path) -> None:
    with Opened(browser, page_file, DESKTOP) as opened:
        page = opened.page
        hidden = "[...document.querySelectorAll('details > div')].filter(one => !one.checkVisibility()).length"
        assert page.evaluate(hidden) > 10
        page.emulate_media(media="print")
        if not page.evaluate("CSS.supports('selector(::details-content)')"):
            pytest.skip("this chromium cannot print the inside of closed details")
        assert page.evaluate(hidden) == 0


def test_hostile_names_do_nothing(browser: Any, hostile_material: Material, tmp_path: Path) -> None:
    path = tmp_path / "hostile.html"
    report_of(hostile_material, False).save(path)
    for size in (PHONE, DESKTOP):
        with Opened(browser, path, size) as opened:
            opened.open_everything()
            page = opened.page
            assert page.evaluate("window.attacked") is None
            assert (
                page.evaluate("document.scripts.length + document.querySelectorAll('[onerror], [src=x]').length") == 0
            )
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            assert opened.said == []
            assert [url for url in opened.asked if not url.startswith("data:")] == [path.as_uri()]


def test_the_policy_would_stop_a_script_that_got_in(browser: Any, page_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "attacked.html"
    attack = "<script>window.attacked=1</script><img src=x onerror=window.attacked=1><p style='position:fixed'>"
    path.write_text(page_file.read_text().replace("<main", attack + "<main", 1))
    with Opened(browser, path, DESKTOP) as opened:
        assert opened.page.evaluate("window.attacked") is None
        assert len([line for line in opened.said if "Content Security Policy" in line]) >= 3
