"""Findings about a training that the doctor did not watch, from data, model, history and records."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from striate import options
from striate.data.dataset import Dataset, require_dataset
from striate.data.loader import batch_count
from striate.data.standardizer import Standardizer
from striate.doctor.finding import Finding, Findings
from striate.doctor.probe import constant_loss, probe_of
from striate.doctor.ranking import ranked
from striate.doctor.reading import reading_of
from striate.doctor.rule import RULES, applied
from striate.doctor.sample import Sample
from striate.doctor.setup import Setup
from striate.doctor.starting import look_at_model
from striate.doctor.training_trace import Silence, TrainingTrace
from striate.nn.loss import CrossEntropyLoss
from striate.nn.module import Module
from striate.optim.sgd import SGD

UNWATCHED = 0.7
"""The largest sureness of a finding about the course of a training of which no step was observed."""
ABOUT_STEPS = ("learning_rate_too_high", "learning_rate_too_low", "overfitting", "constant_predictions")


def posthoc(
    model: Module,
    train_set: Dataset,
    validation: Dataset,
    *,
    setup: Setup | None = None,
    standardizer: Standardizer | None = None,
    losses: Sequence[float] = (),
    validation_losses: Sequence[float | None] = (),
    validation_accuracies: Sequence[float | None] = (),
    events: Sequence[Mapping[str, Any]] = (),
    finished: bool = True,
) -> Findings:
    """Apply all rules of the doctor to a past training, and return the ranked findings.

    model                 the trained model
    train_set             the data set that it was trained on
    validation            the data set that it was validated on
    setup                 how it was trained. If ``model`` was loaded as a graph, without its layers, ``setup.model`` is
                          the same network as layers. None: cross entropy and SGD are assumed, and the options of the
                          training are unknown
    standardizer          the standardizer that was applied to the data; None: the data were not standardized
    losses, validation_losses, validation_accuracies    one number for each epoch
    events                the records of ``progress.jsonl``, among them statistics of the layers in some steps
    finished              False if the training was stopped or failed

    Raises ``OptionError`` unless ``model`` is a ``Module`` and the data sets are ``Dataset`` objects.
    """
    options.require_instance("model", model, Module, 'st.load("model.safetensors")')
    for name, dataset in (("train_set", train_set), ("validation", validation)):
        require_dataset(dataset, name)
    if setup is None:
        setup = Setup(model, CrossEntropyLoss(), SGD(lr=0.0), train_set, validation)
    setup = replace(setup, train_set=train_set, validation=validation, epochs=max(setup.epochs, len(losses)))
    trace = TrainingTrace(setup, continued=setup.model is model, finished=True)
    trace.data, trace.validation = Sample.of(train_set, standardizer), Sample.of(validation, standardizer)
    if setup.model is not model:
        # The rules compare starting weights, which a freshly initialized network shows.
        look_at_model(trace, copy.deepcopy(setup.model).initialize(setup.seed), train_set.images.shape[1:])
    else:
        look_at_model(trace, model, train_set.images.shape[1:])
        trace.copies, trace.random_and_frozen = (), ()
    trace.baseline = constant_loss(trace.data.class_shares, setup.loss, 1)
    trace.epoch_losses = list(losses)
    trace.validation_losses = list(validation_losses)
    trace.validation_accuracies = list(validation_accuracies)
    _replay(trace, events, finished)
    chosen = trace.data.index[:256]
    probe = probe_of(np.asarray(model(train_set.images[chosen])), train_set.labels[chosen], trace.epochs)
    if probe is not None:
        trace.probes.append(probe)
    found = [finding for kind in RULES for finding in applied(kind, trace)]
    return ranked(_modest(finding, bool(trace.readings)) for finding in found)


def _modest(finding: Finding, watched: bool) -> Finding:
    """Return the finding with its sureness limited if it is about training steps that were not observed."""
    if watched or finding.kind not in ABOUT_STEPS:
        return finding
    return replace(finding, sureness=min(finding.sureness, UNWATCHED))


def _replay(trace: TrainingTrace, events: Sequence[Mapping[str, Any]], finished: bool) -> None:
    """Restore losses, readings and silent units in the trace from the records of ``progress.jsonl``."""
    batches = [event for event in events if event.get("kind") == "batch"]
    watches = [event for event in events if event.get("kind") == "watch"]
    steps = max((int(event["step"]) for event in (*batches, *watches)), default=0)
    for event in watches:
        loss = _loss_at(batches, int(event["step"]))
        trace.readings.append(reading_of(event, int(event.get("epoch", 1)), loss))
    # The record has the mean loss of the epoch so far, not of every batch: it is interpolated between records.
    known = sorted({int(event["step"]): _number(event["loss"]) for event in batches}.items())
    if known:
        places, values = zip(*known, strict=True)
        trace.losses = [float(one) for one in np.interp(np.arange(1, steps + 1), places, values)]
    elif trace.epoch_losses:
        each = max(1, batch_count(len(trace.setup.train_set or ()), trace.setup.batch_size))
        trace.losses = [loss for loss in trace.epoch_losses for _ in range(each)]
    if not watches:
        return
    first, last = watches[0]["layers"], watches[-1]["layers"]
    for path, entries in last.items():
        if entries.get("units"):
            silent = tuple(int(unit) for unit in entries["silent"])
            at_first = set(first.get(path, {}).get("silent", ()))
            trace.silence[path] = Silence(int(entries["units"]), silent, len([u for u in silent if u not in at_first]))
    broken = [path for path, one in last.items() if one["gradient_norm"] is None and _had(first, path, "gradient_norm")]
    if not finished and broken:
        trace.broke_down = f'the gradient of "{broken[0]}" was not finite after step {steps}'


def _had(layers: Mapping[str, Any], path: str, name: str) -> bool:
    """Whether a layer's record has the named entry, and it is not null."""
    return layers.get(path, {}).get(name) is not None


def _loss_at(batches: Sequence[Mapping[str, Any]], step: int) -> float:
    """Return the last recorded loss at or before ``step``; NaN if there is none."""
    before = [event for event in batches if int(event["step"]) <= step]
    return _number(before[-1]["loss"]) if before else math.nan


def _number(value: float | None) -> float:
    """Return the number, or NaN for null."""
    return math.nan if value is None else float(value)
