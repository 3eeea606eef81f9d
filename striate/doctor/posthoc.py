"""Findings about a training that was not watched: from its data, its model and its history."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from striate import options
from striate.data.dataset import Dataset, require_dataset
from striate.data.standardizer import Standardizer
from striate.doctor.doctor import applied, constant_loss, probe_of
from striate.doctor.finding import Findings
from striate.doctor.ranking import ranked
from striate.doctor.rule import RULES
from striate.doctor.sample import Sample
from striate.doctor.setup import Setup
from striate.doctor.structure import Structure
from striate.doctor.training_trace import TrainingTrace
from striate.nn.loss import CrossEntropyLoss
from striate.nn.module import Module
from striate.optim.sgd import SGD


def posthoc(
    model: Module,
    train_set: Dataset,
    validation: Dataset,
    *,
    network: Module | None = None,
    standardizer: Standardizer | None = None,
    losses: Sequence[float] = (),
    validation_losses: Sequence[float | None] = (),
    validation_accuracies: Sequence[float | None] = (),
) -> Findings:
    """The findings of the rules that need no watch. ``network`` has the layers where ``model`` was loaded as a graph.

    Raises ``OptionError`` for a model or a data set of another type.
    """
    options.require_instance("model", model, Module, 'st.load("model.safetensors")')
    for name, dataset in (("train_set", train_set), ("validation", validation)):
        require_dataset(dataset, name)
    setup = Setup(model if network is None else network, CrossEntropyLoss(), SGD(lr=0.0), train_set, validation)
    trace = TrainingTrace(setup, continued=True, finished=True)
    trace.data, trace.validation = Sample.of(train_set, standardizer), Sample.of(validation, standardizer)
    trace.structure = Structure.of(setup.model, train_set.images.shape[1:])
    trace.baseline = constant_loss(trace.data.class_shares, setup.loss, 1)
    trace.epoch_losses = list(losses)
    trace.validation_losses = list(validation_losses)
    trace.validation_accuracies = list(validation_accuracies)
    chosen = trace.data.index[:256]
    probe = probe_of(np.asarray(model(train_set.images[chosen])), train_set.labels[chosen], trace.epochs)
    if probe is not None:
        trace.probes.append(probe)
    return ranked(finding for kind in RULES for finding in applied(kind, trace))
