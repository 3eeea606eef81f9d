"""What to change, as a sentence, as code, and as changes that can be applied. The tests apply the printed remedy.

better = finding.remedy.apply(trainer.setup)       # a new setup, from a fresh start; nothing else is touched
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from striate.data.dataset import Dataset
from striate.data.standardizer import Standardizer
from striate.doctor.setup import Setup, layer_at, replaced
from striate.errors import OptionError
from striate.nn.activation import ACTIVATION_LAYERS
from striate.nn.container import Sequential
from striate.nn.initialization import bias_initializer, initializer
from striate.nn.loss import CrossEntropyLoss
from striate.nn.module import Module
from striate.nn.normalization import BatchNorm, batch_norm_of_rank
from striate.nn.shaping import Identity
from striate.nn.standardization import Standardization
from striate.optim.optimizer import Optimizer

_SLOPE = 0.1
_SHOWN = 6


class Change(ABC):
    """One change to a training (abstract)."""

    @abstractmethod
    def code(self, setup: Setup) -> str:
        """The Python code that makes the change."""

    def layers(self) -> tuple[str, ...]:
        """The paths of the layers that it changes."""
        return ()

    def command(self, setup: Setup) -> str:
        """The option of ``striate train`` that makes the change; "" where there is none."""
        return ""

    @abstractmethod
    def apply(self, setup: Setup) -> Setup:
        """The setup with the change made. ``Remedy.apply`` copies the model before and initializes it afterwards."""

    def to_json(self) -> dict[str, Any]:
        """The name of the change and its numbers."""
        return {"change": type(self).__name__, **asdict(self)}  # pyright: ignore[reportArgumentType]


@dataclass(frozen=True)
class LayerChange(Change):
    """A change to the layers at ``paths`` (abstract)."""

    paths: tuple[str, ...]

    def layers(self) -> tuple[str, ...]:
        return self.paths


@dataclass(frozen=True)
class Remedy:
    """``text`` says what to do, ``code`` how, and ``changes`` do it. A remedy without changes must be done by hand."""

    text: str
    code: str = ""
    command: str = ""
    changes: tuple[Change, ...] = ()

    @classmethod
    def of(cls, setup: Setup, text: str, *changes: Change) -> Remedy:
        """A remedy with the code of the changes. Changes to operations that a ``forward`` calls cannot be applied."""
        known = dict(setup.model.named_modules())
        if any(path not in known for change in changes for path in change.layers()):
            return cls(text, "\n".join(change.code(setup) for change in changes))
        commands = [change.command(setup) for change in changes]
        code = "\n".join(change.code(setup) for change in changes)
        return cls(text, code, " ".join(commands) if changes and all(commands) else "", changes)

    def apply(self, setup: Setup) -> Setup:
        """The setup with all changes made, from a fresh start; the given one is left as it is.

        Raises ``OptionError`` for a remedy that must be done by hand, and for anything but a ``Setup``.
        """
        if not isinstance(setup, Setup):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise OptionError(f"apply needs a Setup, got {type(setup).__name__}\n  help: trainer.setup, doctor.setup")
        if not self.changes:
            raise OptionError(f"this must be done by hand: {self.text}")
        changed = replace(setup, model=copy.deepcopy(setup.model))
        for change in self.changes:
            changed = change.apply(changed)
        changed.model.initialize(changed.seed)
        return changed

    def to_json(self) -> dict[str, Any]:
        """Plain strings, numbers and lists."""
        changes = [change.to_json() for change in self.changes]
        return {"text": self.text, "code": self.code, "command": self.command, "changes": changes}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Remedy:
        """Text, code and command; the changes cannot be applied again."""
        text, code, command = (str(document.get(name, "")) for name in ("text", "code", "command"))
        return cls(text, code, command)


def _listed(paths: tuple[str, ...]) -> str:
    shown = ", ".join(paths[:_SHOWN])
    return shown + (f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else "")


def _kinds(setup: Setup, paths: tuple[str, ...]) -> list[str]:
    """The names of the layers at the paths: ``nn.ReLU``, or ``st.ops.relu`` where a forward calls it itself."""
    known = dict(setup.model.named_modules())
    return sorted(
        {
            f"nn.{type(known[path]).__name__}"
            if path in known
            else f"st.ops.{path.rpartition('.')[2].partition('#')[0]}"
            for path in paths
        }
    )


def _named(path: str) -> str:
    """The Python expression for a layer: ``model[3]`` or ``model.stage1.conv``."""
    parts = path.split(".") if path else []
    return "model" + "".join(f"[{part}]" if part.isdigit() else f".{part}" for part in parts)


# The optimizer and the loss


def _options(rule: Optimizer) -> list[str]:
    """The options of an optimizer, besides the learning rate and the schedule, that differ from their defaults."""
    options = {one.name: (vars(rule)[one.name], one.default) for one in fields(rule)}
    return [
        f"{name}={value:g}" if isinstance(value, float) else f"{name}={value!r}"
        for name, (value, default) in options.items()
        if name not in ("lr", "schedule") and value != default and value != {}
    ]


@dataclass(frozen=True)
class LearningRate(Change):
    """Another learning rate."""

    lr: float

    def code(self, setup: Setup) -> str:
        rule = setup.optimizer
        arguments = ", ".join([f"lr={self.lr:.2g}", *_options(rule)])
        return f"optimizer = optim.{type(rule).__name__}({arguments})   # was {rule.lr:g}"

    def command(self, setup: Setup) -> str:
        return f"--lr {self.lr:.2g}"

    def apply(self, setup: Setup) -> Setup:
        return replace(setup, optimizer=replace(setup.optimizer, lr=float(f"{self.lr:.2g}")))


@dataclass(frozen=True)
class MeanLoss(Change):
    """The loss as a mean over the batch instead of a sum."""

    def code(self, setup: Setup) -> str:
        return f'loss = nn.{type(setup.loss).__name__}()   # its reduction is "mean"'

    def apply(self, setup: Setup) -> Setup:
        loss = copy.deepcopy(setup.loss)
        mean = type(loss)()
        loss.reduction = mean.reduction
        return replace(setup, loss=loss)


@dataclass(frozen=True)
class ClassWeights(Change):
    """Class weights N / (C · count), larger for rare classes."""

    weights: tuple[float, ...]

    def code(self, setup: Setup) -> str:
        shown = ", ".join(f"{weight:.3g}" for weight in self.weights)
        return f"loss = nn.CrossEntropyLoss(weight=np.array([{shown}]))"

    def apply(self, setup: Setup) -> Setup:
        return replace(setup, loss=CrossEntropyLoss(np.array(self.weights, np.float32)))


# How long, and in which order


@dataclass(frozen=True)
class Epochs(Change):
    """Another number of passes over the data."""

    epochs: int

    def code(self, setup: Setup) -> str:
        return f"trainer.fit(train_set, validation, epochs={self.epochs})   # was {setup.epochs}"

    def command(self, setup: Setup) -> str:
        return f"--epochs {self.epochs}"

    def apply(self, setup: Setup) -> Setup:
        return replace(setup, epochs=self.epochs)


@dataclass(frozen=True)
class Shuffle(Change):
    """Batches drawn at random from all of the data."""

    def code(self, setup: Setup) -> str:
        return "st.Trainer(…, shuffle=True)   # or data.batches(dataset, size, seed=0, epoch=epoch)"

    def apply(self, setup: Setup) -> Setup:
        return replace(setup, shuffle=True)


# The model


@dataclass(frozen=True)
class Activation(LayerChange):
    """Another activation at these paths: ``kind`` is a name in ``nn.activation.ACTIVATION_LAYERS``."""

    kind: str = "leaky_relu"
    slope: float = _SLOPE

    def _layer(self) -> Module:
        return ACTIVATION_LAYERS[self.kind].with_slope(self.slope)

    def code(self, setup: Setup) -> str:
        return f"nn.{self._layer()!r}   # instead of {', '.join(_kinds(setup, self.paths))} at {_listed(self.paths)}"

    def apply(self, setup: Setup) -> Setup:
        for path in self.paths:
            replaced(setup.model, path, self._layer())
        return setup


@dataclass(frozen=True)
class Initialization(LayerChange):
    """Another initialization of the weights at these paths; biases start at zero ("torch": as in PyTorch)."""

    init: str = "he"

    def code(self, setup: Setup) -> str:
        return "\n".join(
            f'{kind}(…, init="{self.init}")   # at {_listed(self.paths)}' for kind in _kinds(setup, self.paths)
        )

    def apply(self, setup: Setup) -> Setup:
        for path in self.paths:
            layer = layer_at(setup.model, path)
            for name, parameter in layer.own_state().items():
                if parameter.learned:
                    parameter.initial = None
                    parameter.init = initializer(self.init) if name == "weight" else bias_initializer(self.init)
        return setup


@dataclass(frozen=True)
class Normalize(LayerChange):
    """Batch normalization before each of these layers, whose inputs have ``ranks`` axes."""

    ranks: tuple[int, ...]

    def code(self, setup: Setup) -> str:
        kinds = sorted({batch_norm_of_rank(rank).__name__ for rank in self.ranks})
        return f"nn.{'(None) or nn.'.join(kinds)}(None)   # before the layers {_listed(self.paths)}"

    def apply(self, setup: Setup) -> Setup:
        for path, rank in zip(self.paths, self.ranks, strict=True):
            layer = layer_at(setup.model, path)
            replaced(setup.model, path, Sequential(batch_norm_of_rank(rank)(None), layer))
        return setup


@dataclass(frozen=True)
class NormOptions(LayerChange):
    """Another momentum and ε of batch normalizations."""

    momentum: float = 0.1
    eps: float = 1e-5

    def code(self, setup: Setup) -> str:
        options = f"momentum={self.momentum:g}, eps={self.eps:g}"
        return "\n".join(f"{kind}(…, {options})   # at {_listed(self.paths)}" for kind in _kinds(setup, self.paths))

    def apply(self, setup: Setup) -> Setup:
        for path in self.paths:
            layer = layer_at(setup.model, path)
            if isinstance(layer, BatchNorm):
                layer.momentum, layer.eps = self.momentum, self.eps
        return setup


@dataclass(frozen=True)
class Remove(LayerChange):
    """These layers removed from the network."""

    def code(self, setup: Setup) -> str:
        return f"# without the {', '.join(_kinds(setup, self.paths))} at {_listed(self.paths)}"

    def apply(self, setup: Setup) -> Setup:
        for path in self.paths:
            replaced(setup.model, path, Identity())
        return setup


@dataclass(frozen=True)
class Unfreeze(LayerChange):
    """These layers learn again."""

    def code(self, setup: Setup) -> str:
        return "\n".join(f"{_named(path)}.requires_grad_(True)" for path in self.paths[:_SHOWN])

    def apply(self, setup: Setup) -> Setup:
        for path in self.paths:
            for parameter in layer_at(setup.model, path).own_state().values():
                parameter.requires_grad = parameter.learned
        setup.model.invalidate()
        return setup


# The data


def _standardize(model: Module, dataset: Dataset) -> None:
    fit = Standardizer.fit(dataset.images)
    model.standardizer = Standardization(fit.mean, fit.sigma, fit.epsilon)


@dataclass(frozen=True)
class Standardize(Change):
    """A standardizer in the model, which gives its inputs mean 0 and standard deviation 1."""

    def code(self, setup: Setup) -> str:
        return "model.standardizer = st.data.Standardizer.fit(train_set.images)"

    def command(self, setup: Setup) -> str:
        return "--standardize"

    def apply(self, setup: Setup) -> Setup:
        if setup.train_set is None:
            raise OptionError("standardize: fit a Standardizer on the training data\n  help: Standardizer.fit(x)")
        _standardize(setup.model, setup.train_set)
        return setup


@dataclass(frozen=True)
class Clip(Change):
    """Inputs clipped to low … high in both sets; the standardizer is fitted again."""

    low: float
    high: float

    def code(self, setup: Setup) -> str:
        return f"x = np.clip(x, {self.low:.3g}, {self.high:.3g})   # in both sets, before the standardizer is fitted"

    def apply(self, setup: Setup) -> Setup:
        train_set, validation = (
            None if one is None else with_images(one, np.clip(one.images, self.low, self.high))
            for one in (setup.train_set, setup.validation)
        )
        if "standardizer" in dict(setup.model.named_modules()) and train_set is not None:
            _standardize(setup.model, train_set)
        return replace(setup, train_set=train_set, validation=validation)


@dataclass(frozen=True)
class DropFeatures(Change):
    """Data without these features (columns or channels); the first layer infers its number of inputs again."""

    features: tuple[int, ...]
    first: str

    def code(self, setup: Setup) -> str:
        shown = ", ".join(map(str, self.features[:_SHOWN])) + (", …" if len(self.features) > _SHOWN else "")
        return f"x = np.delete(x, [{shown}], axis=1)   # in both sets; {_named(self.first)} takes fewer inputs"

    def apply(self, setup: Setup) -> Setup:
        layer_at(setup.model, self.first).forget_inputs()
        train_set, validation = (
            None if one is None else without_features(one, self.features) for one in (setup.train_set, setup.validation)
        )
        if "standardizer" in dict(setup.model.named_modules()) and train_set is not None:
            _standardize(setup.model, train_set)
        return replace(setup, train_set=train_set, validation=validation)


def without_features(dataset: Dataset, features: tuple[int, ...]) -> Dataset:
    """The data set without these columns or channels."""
    return with_images(dataset, np.delete(dataset.images, np.array(features, np.int64), axis=1))


def with_images(dataset: Dataset, images: npt.NDArray[Any]) -> Dataset:
    """The data set with other inputs."""
    return replace(dataset, images=images)


@dataclass(frozen=True)
class DropLeaked(Change):
    """A validation set without the samples at these indices, which the training set contains as well."""

    indices: tuple[int, ...]

    def code(self, setup: Setup) -> str:
        return "validation = validation.subset([i for i in range(len(validation)) if i not in finding.units])"

    def apply(self, setup: Setup) -> Setup:
        if setup.validation is None:
            return setup
        keep = np.ones(len(setup.validation), bool)
        keep[list(self.indices)] = False
        return replace(setup, validation=setup.validation.subset(keep))


@dataclass(frozen=True)
class RollLabels(Change):
    """Training labels moved by ``places``, back to their inputs."""

    places: int

    def code(self, setup: Setup) -> str:
        return f"labels = np.roll(labels, {self.places})   # or read inputs and labels from the same row"

    def apply(self, setup: Setup) -> Setup:
        if setup.train_set is None:
            return setup
        one = setup.train_set
        return replace(setup, train_set=replace(one, labels=np.roll(one.labels, self.places)))


@dataclass(frozen=True)
class Renumber(Change):
    """Training labels numbered as in the validation set: new = numbers[old]."""

    numbers: tuple[int, ...]

    def code(self, setup: Setup) -> str:
        shown = ", ".join(map(str, self.numbers[:12])) + (", …" if len(self.numbers) > 12 else "")
        return f"labels = np.array([{shown}])[labels]   # of the training set"

    def apply(self, setup: Setup) -> Setup:
        if setup.train_set is None:
            return setup
        one = setup.train_set
        return replace(setup, train_set=replace(one, labels=np.array(self.numbers)[one.labels]))
