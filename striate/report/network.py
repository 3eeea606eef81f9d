"""The report's section with the drawing of the network."""

from __future__ import annotations

from striate.report.chart import key
from striate.report.drawing import drawing
from striate.report.equations import whole_equation
from striate.report.html import element
from striate.report.labels import colour_of
from striate.report.material import Material
from striate.report.page import Section

KEY = {
    "contraction": "weights",
    "normalization": "normalization",
    "activation": "activation",
    "window": "pooling",
    "join": "branches meet",
    "view": "another shape",
    "other": "arithmetic",
}


def section(material: Material) -> Section:
    """Build the report's section with the drawing of the network and a legend of its colours."""
    used = {colour_of(block) for block in material.blocks}
    whole = whole_equation(material.blocks)
    entry = " × ".join(map(str, material.model.input_shape))
    return Section(
        "network",
        "The network",
        f"An input of {entry} enters at the top; the numbers beside the arrows are the shape of the data there, for "
        "one sample, channels first, and an orange line is a skip connection. Choose a strip to read its "
        "equation. Bad signs: shapes that shrink to 1 × 1 long before the end, or one layer that "
        "holds nearly all parameters.",
        element(
            "div",
            key([(words, name) for name, words in KEY.items() if name in used]),
            element("p", "In one line: ", element("span", whole, class_="equation")) if whole else None,
            drawing(material.blocks),
        ),
    )
