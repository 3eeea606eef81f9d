"""The report's section on each layer: its equation, the loops that compute it, and their speed."""

from __future__ import annotations

from collections.abc import Sequence

from striate.compiler import compile_graph, options_for
from striate.profile import Profile, Row
from striate.report.anatomy import Block
from striate.report.chart import percent, swatch
from striate.report.equations import equation_of, typeset
from striate.report.html import Markup, element, joined
from striate.report.labels import colour_of, label_of
from striate.report.material import Material
from striate.report.page import Section, details, table
from striate.show.loops import Loop, loops_of

NAMES = (
    "In the loops, v5 is computed by loop 5 in the forward pass, d57 by loop 57 in the backward pass, t1 exists in "
    "registers only, ∂w is the gradient of w, m′ the new contents of m, and N the number of samples."
)


def section(material: Material, profile: Profile | None) -> Section:
    """Build the report's section on single layers; the details of each layer open on a click.

    ``profile`` has the measured times; None leaves them out.
    """
    graph = material.training or material.model.graph
    step = "a training step" if material.training is not None else "a prediction"
    material.say(f"compiling {step} on paper")
    page = _Layers(material, loops_of(compile_graph(graph, options_for()).plan), profile)
    return Section(
        "layers",
        "Layer by layer",
        "Each layer opens: its equation, the names of its letters in the saved file, and the loops into which the "
        f"compiler fused {step}. Everything in one loop happens while its data are in registers. A bad sign: many "
        "separate loops for cheap arithmetic, which then waits for memory.",
        element(
            "div",
            element("p", NAMES, class_="note"),
            element("div", [page.layer(block) for block in material.blocks], class_="layers"),
        ),
    )


class _Layers:
    """Everything known about each layer, by its path."""

    def __init__(self, material: Material, loops: Sequence[Loop], profile: Profile | None) -> None:
        self.profile = profile
        self.parameters = sum(block.parameters for block in material.blocks)
        self.places = {block.path: block.index for block in reversed(material.blocks)}
        self.rows = profile.by_layer() if profile else {}
        self.loops: dict[str, list[Loop]] = {}
        for loop in loops:
            for path in loop.paths:
                self.loops.setdefault(path, []).append(loop)

    def layer(self, block: Block) -> Markup:
        """Return the part for one layer.

        Closed, it shows name, first equation and key figures; open, all equations, loops and speeds.
        """
        rows = self.rows.get(block.path, [])
        equation = equation_of(block)
        counted = [f"{block.parameters:,} parameters"] if block.parameters else []
        counted += [f"{sum(row.seconds for row in rows) * 1e3:.3f} ms"] if rows else []
        summary = joined(
            swatch(colour_of(block)),
            element("span", label_of(block), element("span", block.path or "the model itself", class_="where")),
            element("span", block.shape, [[element("br"), text] for text in counted], class_="out"),
            element("span", equation.lines[0], class_="equation") if equation.lines else None,
        )
        part = block.parameters / self.parameters if block.parameters else 0.0
        share = percent(part, 1 if part < 0.1 else 0)
        facts = [
            f"Gives {block.shape} for each sample",
            f"{block.parameters:,} parameters ({share} of all)" if block.parameters else "",
            f"{block.multiply_adds:,} multiply-adds for each sample" if block.multiply_adds else "",
        ]
        return details(
            summary,
            [element("p", line, class_="equation") for line in equation.lines[1:]],
            _letters(equation.letters),
            element("p", "; ".join(filter(None, facts)), ".", class_="note"),
            _speed(rows, self.profile),
            self._loops(block.path),
            id=f"layer-{block.index}",
        )

    def _loops(self, path: str) -> Markup | None:
        """Return the loops of a layer, forward and backward; None without any."""
        loops = self.loops.get(path)
        if not loops:
            return None
        count = f"{len(loops)} loop{'s' * (len(loops) != 1)} of this layer"
        parts = {
            "To the loss": [loop for loop in loops if not loop.backward],
            "Back from it": [loop for loop in loops if loop.backward],
        }
        if not parts["Back from it"]:
            parts = {"": loops}
        shown = [
            joined(element("h3", title) if title else None, [self._loop(loop, path) for loop in some])
            for title, some in parts.items()
            if some
        ]
        return details(count, shown)

    def _loop(self, loop: Loop, path: str) -> Markup:
        """Return one loop, with links to the other layers that it computes."""
        others = [other for other in loop.paths if other != path]
        links = [
            element("a", other, href=f"#layer-{self.places[other]}") if other in self.places else other
            for other in others
        ]
        also = element("span", " · also of ", [[", " * bool(i), link] for i, link in enumerate(links)], class_="also")
        rows = [[element("dt", label), [element("dd", text) for text in texts]] for label, texts in loop.rows]
        title = element("p", f"Loop {loop.index}: {loop.title}", also if others else None)
        return element("div", title, element("dl", rows), class_="loop")


def _letters(letters: Sequence[tuple[str, str]]) -> Markup | None:
    """Return the meaning of an equation's letters."""
    if not letters:
        return None
    return element(
        "ul", [element("li", typeset(letter), " is ", element("code", what)) for letter, what in letters],
        class_="letters",
    )  # fmt: skip


def _speed(rows: Sequence[Row], profile: Profile | None) -> Markup | None:
    """Return the table of a layer's times; None if nothing was measured."""
    if profile is None or not rows:
        return None
    lines = [
        [
            row.stage.value,
            row.algorithm,
            f"{row.seconds * 1e3:.3f}",
            percent(row.seconds / profile.seconds, 1),
            f"{row.gflops:.0f}" if row.flops else "",
            percent(profile.fraction(row)) if row.flops else "",
        ]
        for row in rows
    ]
    head = ("pass", "how", "ms", "share", "GFLOP/s", "of peak")
    return table(head, lines, 2, f"Speed, {profile.what}, batch of {profile.samples}")
