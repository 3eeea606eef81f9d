"""The report's section on where the time of a step goes, measured while the report is made."""

from __future__ import annotations

import copy

import numpy as np

from striate import settings
from striate.nn.loss import CrossEntropyLoss
from striate.optim import SGD
from striate.profile import Profile, Row, profile_prediction
from striate.report.chart import key, percent
from striate.report.html import Markup, element
from striate.report.material import Material
from striate.report.page import Section, absent, table
from striate.settings import Engine
from striate.step import TrainingStep

REPETITIONS = 5
_WIDTH, _NAMES, _TIMES, _ROW = 400.0, 138.0, 58.0, 20.0
_LONGEST = 22
_TONES = {"forward": "s1", "input gradient": "s2", "weight gradient": "s3", "backward": "s4", "update": "s5"}


def measured(material: Material) -> Profile | None:
    """Return a short profile of a training step, or of a prediction if the network cannot be rebuilt.

    The result is None if nothing is compiled (``STRIATE_ENGINE=reference``), or the model has several inputs.
    """
    if settings.current().engine is not Engine.COMPILED or len(material.model.input_types) > 1:
        return None
    samples = material.batch_size
    if material.data is not None:
        rows = np.resize(np.arange(len(material.data)), samples)
        x, y = material.data.images[rows], material.data.labels[rows]
    else:
        random = np.random.default_rng(0)
        x = random.standard_normal((samples, *material.model.input_shape)).astype(np.float32)
        y = random.integers(0, max(1, material.outputs), samples)
    if material.network is not None and material.training is not None:
        material.say(f"measuring {REPETITIONS} training steps of {samples} samples")
        network = copy.deepcopy(material.network)
        step = TrainingStep(network, CrossEntropyLoss(), SGD(lr=1e-6, momentum=0.9), capacity=samples)
        return step.profile(x, y, REPETITIONS)
    material.say(f"measuring {REPETITIONS} predictions of {samples} samples")
    return profile_prediction(material.model, x, REPETITIONS)


def section(material: Material, profile: Profile | None, requested: bool) -> Section:
    """Build the report's section on speed: totals, one bar per layer, and a table.

    Without a profile, the section says why nothing was measured; ``requested`` is False if the user chose
    ``--no-speed``.
    """
    lead = (
        "A short measurement on this computer, made now. Each bar is the time of one layer, forward and backward; the "
        "peak is the rate of multiply-adds measured at the same time. Bad signs: layers with little work that take "
        "much time, or less than a tenth of the peak in the largest convolution."
    )
    if profile is None:
        several = len(material.model.input_types) > 1
        why = "the model has several inputs" if several else "STRIATE_ENGINE=reference compiles nothing"
        reason = why if requested else "--no-speed"
        return Section("speed", "The speed reached", lead, absent(f"Not measured: {reason}."))
    layers = profile.by_layer()
    rate = profile.samples / profile.seconds
    text = (
        f"{profile.what.capitalize()} of {profile.samples} samples: {profile.seconds * 1e3:.2f} ms, "
        f"{rate:,.0f} samples a second, {profile.flops / profile.seconds / 1e9:.0f} GFLOP/s or "
        f"{percent(profile.floor / profile.seconds)} of the measured peak of {profile.peak / 1e9:.0f} GFLOP/s, with "
        f"{profile.threads} thread{'s' * (profile.threads > 1)} on {profile.cpu}, mean of {profile.kept} of "
        f"{profile.repetitions} repetitions."
    )
    winograd = (
        " Work is counted in direct form, and Winograd's form multiplies less: it may pass the peak."
        if any(row.algorithm == "winograd" for row in profile.rows)
        else ""
    )
    beside = "Other programs were running beside it: the true speed may be higher."
    busy = beside if 2 * profile.clean < profile.repetitions else None
    return Section(
        "speed", "The speed reached", lead,
        element("div", element("p", text + winograd), element("p", busy, class_="note") if busy else None,
                _bars(layers, profile), _table(layers, profile)),
    )  # fmt: skip


def _bars(layers: dict[str, list[Row]], profile: Profile) -> Markup:
    """Return a bar for each of the slowest layers, with each pass in its colour."""
    slowest = sorted(layers.items(), key=lambda item: -sum(row.seconds for row in item[1]))[:16]
    longest = max(sum(row.seconds for row in rows) for _, rows in slowest)
    parts: list[Markup] = []
    used: dict[str, str] = {}
    for index, (layer, rows) in enumerate(slowest):
        y, x = index * _ROW, _NAMES + 6
        name = f"{layer} {rows[0].kind}".strip()
        if len(name) > _LONGEST:
            name = layer if len(layer) <= _LONGEST else f"…{layer[1 - _LONGEST :]}"
        parts.append(element("text", name, x=_NAMES, y=y + 14, class_="end"))
        for row in rows:
            width = row.seconds / longest * (_WIDTH - _NAMES - 6 - _TIMES)
            title = element("title", f"{layer}, {row.stage.value}: {row.seconds * 1e3:.3f} ms")
            tone = _TONES[row.stage.value]
            used[row.stage.value] = tone
            parts.append(element("rect", title, x=x, y=y + 3, width=width, height=_ROW - 6, class_=f"bar {tone}"))
            x += width
        time = sum(row.seconds for row in rows)
        parts.append(element("text", f"{time * 1e3:.{3 if time < 0.01 else 1}f} ms", x=x + 5, y=y + 14))
    height = _ROW * len(slowest)
    label = "Time by layer: " + ", ".join(
        f"{layer} {sum(row.seconds for row in rows) * 1e3:.2f} ms" for layer, rows in slowest
    )
    chart = element("svg", parts, viewBox=f"0 0 {_WIDTH:g} {height:g}", class_="chart", role="img", aria_label=label)
    return element("figure", chart, key(list(used.items())))


def _table(layers: dict[str, list[Row]], profile: Profile) -> Markup:
    """Return the table of all layers."""
    rows: list[list[object]] = []
    for layer, some in layers.items():
        time, flops = sum(row.seconds for row in some), sum(row.flops for row in some)
        rate = flops / time / 1e9 if flops and time else 0.0
        rows.append([
            f"{layer} {some[0].kind}".strip(), f"{time * 1e3:.3f}", percent(time / profile.seconds, 1),
            f"{rate:.0f}" if rate else "", percent(rate * 1e9 / profile.peak) if rate else "",
            f"{sum(row.moved for row in some) / time / 1e9:.1f}" if time else "",
        ])  # fmt: skip
    outside = profile.outside
    rows.append(["outside of loops", f"{outside * 1e3:.3f}", percent(outside / profile.seconds, 1), "", "", ""])
    return element(
        "details",
        element("summary", "All layers in numbers"),
        element("div", table(("layer", "ms", "share", "GFLOP/s", "of peak", "GB/s"), rows, 1)),
    )
