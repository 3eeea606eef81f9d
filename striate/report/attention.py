"""The report's section on where the network looks, by Grad-CAM."""

from __future__ import annotations

import numpy as np

from striate.errors import StriateError
from striate.insight import grad_cam
from striate.report.chart import percent
from striate.report.features import no_examples
from striate.report.html import Markup, element, joined
from striate.report.material import Array, Example, Material
from striate.report.page import Section, absent
from striate.report.pixels import data_uri, enlarged, over, picture, shown, stretched
from striate.train.evaluation import log_softmax

EXAMPLES = 8
MISTAKES = 4
_SIDE = 112


def section(material: Material) -> Section:
    """Build the report's section on where the network looks, by Grad-CAM maps of the predicted class.

    Wrongly classified samples with the largest loss are also shown under the map of their true class.
    """
    lead = (
        "Bright regions speak for the predicted class (Grad-CAM: the last maps, weighted by how much the score grows "
        "with them). A bad sign: brightness beside the object, in a corner or on the background, which may give the "
        "label away by accident; or nothing bright at all."
    )
    examples = material.examples(EXAMPLES)
    if not examples or len(material.model.input_shape) != 3 or not material.outputs:
        why = no_examples(material) if not examples else "The inputs are not pictures, or the outputs not classes."
        return Section("attention", "Where it looks", lead, absent(why))
    material.say("computing where it looks")
    try:
        tiles = [_looked(material, example) for example in examples]
    except StriateError as error:  # a network that keeps no positions
        return Section("attention", "Where it looks", lead, absent(f"No map: {str(error).splitlines()[0]}"))
    parts = [element("div", *tiles, class_="tiles"), _key()]
    mistakes = [] if material.pictures else material.mistakes[:MISTAKES]
    if mistakes:
        pairs = [
            element("div", *(
                _tile(
                    material, one.image, target,
                    joined(element("span", f"for {target}", class_=tone), f", {what}"),
                    f"sample {one.index}, evidence for {target}",
                )
                for target, tone, what in ((one.predicted, "wrong", "predicted"), (one.label, "right", "its class"))
            ), class_="pair")
            for one in mistakes
        ]  # fmt: skip
        parts += [
            element("h3", "The worst mistakes, seen both ways"),
            element("p", "First what spoke for the wrong class, then what spoke for the true one.", class_="note"),
            element("div", *pairs, class_="tiles pairs"),
        ]
    return Section("attention", "Where it looks", lead, element("div", *parts))


def _key() -> Markup:
    """Return the colour scale, from no evidence to the strongest of a picture."""
    steps = np.linspace(0, 1, 64)[np.newaxis]
    bar = element(
        "img",
        src=data_uri(over(np.zeros((1, 64, 3), np.uint8), steps)),
        alt="from dark to bright",
        width=96,
        height=10,
        class_="scale",
    )
    return element("p", "no evidence ", bar, " the strongest of that picture", class_="note")


def _looked(material: Material, example: Example) -> Markup:
    """Return the tile of one example, with its predicted class."""
    (logits,) = np.asarray(material.model(example.image[np.newaxis]))
    probabilities = np.exp(log_softmax(logits[np.newaxis]))[0]
    best = int(np.argmax(probabilities))
    name = material.classes[best]
    right = example.label is None or example.label == best
    truth = "" if right else f", is {material.classes[example.label or 0]}"
    sure = percent(float(probabilities[best]))
    tone = None if example.label is None else "right" if right else "wrong"
    caption = joined(element("span", f"{name} ({sure}){truth}", class_=tone), element("br"), example.name)
    return _tile(material, example.image, best, caption, f"{example.name}, evidence for {name}")


def _tile(material: Material, image: Array, target: int | str, caption: Markup, alt: str) -> Markup:
    """Return a picture under its Grad-CAM map, with a caption."""
    number = target if isinstance(target, int) else material.classes.index(target)
    heatmap = grad_cam(material.model, image, number)
    pixels = over(picture(image), stretched(heatmap) if heatmap.max() > 0 else np.zeros_like(heatmap))
    size = max(1, round(_SIDE / max(pixels.shape[:2])))
    return element("figure", shown(enlarged(pixels, size), alt), element("figcaption", caption))
