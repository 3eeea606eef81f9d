"""The material of a report: the model, its run if there is one, and its data if they can be read."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from striate.data import Dataset, Split, open_dataset
from striate.data.number_options import Task
from striate.data.picture import read_picture
from striate.errors import OptionError, StriateError
from striate.graph.graph import Graph
from striate.graph.text import graph_text
from striate.graph.value import DType
from striate.insight import Mistake, worst_mistakes
from striate.locks import cached_property
from striate.models import MODELS, build
from striate.nn.loss import CrossEntropyLoss
from striate.nn.module import Module
from striate.nn.standardization import Standardization
from striate.persistence import LoadedModel, load_saved, predict_graph
from striate.report.anatomy import Block, blocks_of
from striate.step import batch_type, training_graph
from striate.train.record import read_progress
from striate.train.run import MODEL_FILE, RUN_FILE, Run, model_file, read_run

Array = npt.NDArray[Any]
MISTAKES = 12
"""The number of worst mistakes that the report examines."""
_LARGEST_NUMBER = 1e300
Say = Callable[[str], None]


@dataclass(frozen=True)
class Example:
    """One input that the report explains, with its class number if that is known."""

    name: str
    image: Array
    label: int | None = None


@dataclass
class Material:
    """A saved model and everything known about it; ``say`` is called with messages about the progress.

    name      name of the run folder or model file
    model     the model as loaded from its file
    run       the run's description; None for a model file alone
    data      the held-out data; None if they cannot be read
    missing   the reason why there are no data, else ""
    records   the records of progress.jsonl
    unread    the reason why progress.jsonl could not be read, else ""
    pictures  pictures that the user chose to explain
    """

    name: str
    model: LoadedModel
    run: Run | None = None
    data: Dataset | None = None
    missing: str = ""
    """The reason why there are no data; "" if there are."""
    records: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    unread: str = ""
    """The reason why progress.jsonl could not be read, if it exists; "" otherwise."""
    pictures: list[Example] = field(default_factory=list[Example])
    say: Say = lambda text: None

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, from the model or the data.

        Classes without names have their numbers as names.
        """
        known = self.model.classes or (self.data.classes if self.data else ())
        count = self.outputs
        return (*known, *(str(index) for index in range(len(known), count)))

    @property
    def outputs(self) -> int:
        """The number of class scores per input; 0 for a model with other outputs."""
        options = self.run.number_options if self.run else None
        measured = options is not None and options.task not in (None, Task.classify)
        return 0 if measured else outputs_of(self.model)

    @cached_property
    def blocks(self) -> list[Block]:
        """The blocks of the network: its layers, as the report draws them."""
        return blocks_of(self.model.graph)

    @cached_property
    def network(self) -> Module | None:
        """The network as modules, rebuilt from the run, with the trained weights.

        The value is None if the network cannot be rebuilt, or if it does not compute exactly the graph of the model
        file.
        """
        return None if self.run is None else rebuilt(self.model, self.run)

    @cached_property
    def training(self) -> Graph | None:
        """The graph of a training step; None if the network cannot be rebuilt or does not classify."""
        if self.network is None or self.outputs < 2:
            return None
        x = batch_type(self.model.input_shape, self.network.dtype or DType.float32)
        return training_graph(self.network, CrossEntropyLoss(), x).graph

    @cached_property
    def mistakes(self) -> list[Mistake]:
        """The wrongly classified held-out samples with the largest loss; empty without data or classes."""
        if self.data is None or not self.outputs:
            return []
        self.say(f"looking for mistakes among {len(self.data):,} held-out samples")
        return worst_mistakes(self.model, self.data, MISTAKES)

    @property
    def batch_size(self) -> int:
        """The batch size of the training; 64 if it is not known."""
        found = self.run.arguments.get("batch_size") if self.run else None
        return found if isinstance(found, int) and 1 <= found <= 4096 else 64

    def records_of(self, kind: str) -> list[dict[str, Any]]:
        """Return the records of one kind from progress.jsonl, such as "batch" or "watch"."""
        return [record for record in self.records if record.get("kind") == kind]

    def examples(self, count: int) -> list[Example]:
        """Return the pictures that the user chose, or else some held-out samples.

        With classes, they are the first samples of up to ``count`` different classes; without classes, the first
        ``count`` samples.
        """
        if self.pictures or self.data is None:
            return self.pictures
        if not self.data.is_classification:
            shown = self.data.images[:count]
            return [Example(f"held-out sample {n}", one) for n, one in enumerate(shown)]
        _, first = np.unique(self.data.labels, return_index=True)
        chosen = [int(index) for index in sorted(first)[:count]]
        return [
            Example(f"held-out sample {index}", self.data.images[index], int(self.data.labels[index]))
            for index in chosen
        ]


def gathered(path: Path, images: list[Path], data: str | None, say: Say) -> Material:
    """Gather the material of a report from a run folder or a model file.

    images  PNG or JPEG files to explain
    data    name or path of the data set to use; None: the run's own, if ``path`` is a run folder
    say     is called with messages about the progress

    If the data of the run cannot be read, the reason is stored in ``missing``. Raises a ``StriateError`` if the model,
    an image, or the data set ``data`` cannot be read.
    """
    folder = path if path.is_dir() else None
    # A folder made by hand may hold a model and progress.jsonl, without the command line's run.json.
    ours = folder is not None and ((path / RUN_FILE).exists() or not (path / MODEL_FILE).exists())
    run = read_run(path) if ours else None
    say("reading the model")
    model = load_saved(model_file(path) if folder else path)
    material = Material(path.resolve().name or str(path), model, run, say=say)
    wanted = data or (run.data if run else None)
    if wanted is None:
        material.missing = "a model file does not say which data belong to it; give them with --data"
    else:
        say(f"opening {wanted}")
        try:
            found = run.dataset(Split.TEST) if run and not data else open_dataset(wanted, Split.TEST)
            material.data = _fitting(found, material)
        except StriateError as error:
            if data is not None:
                raise
            material.missing = f"the data of the run cannot be opened: {error}"
    if folder is not None:
        try:
            material.records = read_progress(folder)
        except StriateError as error:
            material.unread = str(error)
    material.pictures = [_picture(file, model) for file in images]
    return material


def _fitting(data: Dataset, material: Material) -> Dataset:
    """Return the data, with labels numbered as the model's classes.

    Raises ``OptionError`` if they do not fit the model.
    """
    if data.images.shape[1:] != material.model.input_shape:
        raise OptionError(
            f"{data.name} has samples of shape {data.images.shape[1:]}, the model takes {material.model.input_shape}"
        )
    if material.outputs and len(data.classes) > material.outputs:
        raise OptionError(f"{data.name} has {len(data.classes)} classes, the model {material.outputs} outputs")
    return data.with_classes(material.model.classes)


def _picture(file: Path, model: LoadedModel) -> Example:
    """Read a picture file as an input of the model."""
    channels, *size = model.input_shape
    if len(size) != 2:
        raise OptionError(f"--image {file}: this model takes samples of shape {model.input_shape}, not pictures")
    return Example(file.name, read_picture(file, channels, (size[0], size[1])))


def outputs_of(model: LoadedModel) -> int:
    """Return the number of class scores per input; 0 for a model with other outputs."""
    (first, *more) = model.graph.outputs.values()
    return int(first.type.concrete(1)[1]) if not more and first.type.rank == 2 else 0


def rebuilt(model: LoadedModel, run: Run) -> Module | None:
    """Rebuild the network that a run names, with the weights of the model file.

    The result is None if that fails, or if the network does not compute exactly the graph of the model file.
    """
    name = run.arguments.get("model")
    if not isinstance(name, str) or name not in MODELS or not outputs_of(model):
        return None
    known = inspect.signature(MODELS[name]).parameters
    given = {key: value for key, value in run.arguments.items() if key in known and key not in ("channels", "classes")}
    try:
        network = build(name, channels=model.input_shape[0], classes=outputs_of(model), **given)
        if model.standardizer is not None:
            fit = model.standardizer
            network.standardizer = Standardization(fit.mean, fit.sigma, fit.epsilon)
        network.infer(model.input_shape)
        if graph_text(predict_graph(network, model.input_shape)) != graph_text(model.graph):
            return None
        network.load_state_dict(model.state_dict(), strict=False)
        return network
    except (StriateError, TypeError, ValueError):
        return None


def numbers_of(record: Mapping[str, Any], *names: str) -> tuple[float, ...] | None:
    """Return the entries of a record with these names, as floats; None if one is missing or not a finite number."""
    found: list[float] = []
    for name in names:
        value = record.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _LARGEST_NUMBER:
            return None
        found.append(float(value))
    return tuple(found)
