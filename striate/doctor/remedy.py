"""What to change, as a sentence, as code, and as changes that can be made: the remedy that is printed is the one that
the tests apply.

    better = finding.remedy.apply(trainer.setup)       # a new setup, from a fresh start; nothing else is touched
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from striate.data.dataset import Dataset
from striate.data.standardizer import Standardizer
from striate.doctor.setup import Setup, layer_at, replaced
from striate.errors import OptionError
from striate.nn.activation import LeakyReLU, ReLU, Sigmoid, Tanh
from striate.nn.container import Sequential
from striate.nn.convolution import Convolution
from striate.nn.initialization import bias_initializer, initializer
from striate.nn.linear import Linear
from striate.nn.loss import CrossEntropyLoss
from striate.nn.module import Module
from striate.nn.normalization import BatchNorm, BatchNorm1d, BatchNorm2d, BatchNorm3d
from striate.nn.shaping import Identity
from striate.nn.standardization import Standardization

ACTIVATIONS: dict[str, type[Module]] = {"ReLU": ReLU, "LeakyReLU": LeakyReLU, "Tanh": Tanh, "Sigmoid": Sigmoid}
_SLOPE = 0.1
_SHOWN = 6


class Change(ABC):
    """One change of a training (abstract)."""

    @abstractmethod
    def code(self, setup: Setup) -> str:
        """The line of Python that makes it."""

    def command(self, setup: Setup) -> str:
        """The option of ``striate train`` that makes it; "" where there is none."""
        return ""

    @abstractmethod
    def apply(self, setup: Setup) -> Setup:
        """The setup with the change made; the model was copied before and starts anew afterwards."""

    def to_json(self) -> dict[str, Any]:
        """Its name and its numbers."""
        return {"change": type(self).__name__, **asdict(self)}  # pyright: ignore[reportArgumentType]


@dataclass(frozen=True)
class Remedy:
    """``text`` says what to do, ``code`` how; ``changes`` do it. Without changes it is to be done by hand."""

    text: str
    code: str = ""
    command: str = ""
    changes: tuple[Change, ...] = ()

    @classmethod
    def of(cls, setup: Setup, text: str, *changes: Change) -> Remedy:
        """With the code of the changes; only words where a ``forward`` calls itself what is to be changed."""
        known = dict(setup.model.named_modules())
        if any(path not in known for change in changes for path in getattr(change, "paths", ())):
            return cls(text, "\n".join(change.code(setup) for change in changes))
        commands = [change.command(setup) for change in changes]
        code = "\n".join(change.code(setup) for change in changes)
        return cls(text, code, " ".join(commands) if changes and all(commands) else "", changes)

    def apply(self, setup: Setup) -> Setup:
        """The setup with all changes made, from a fresh start; the given one is left as it is.

        Raises ``OptionError`` where the remedy is to be done by hand.
        """
        if not self.changes:
            raise OptionError(f"this is to be done by hand: {self.text}")
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
        """Text, code and command; the changes stay what they are, words."""
        text, code, command = (str(document.get(name, "")) for name in ("text", "code", "command"))
        return cls(text, code, command)


def _listed(paths: tuple[str, ...]) -> str:
    shown = ", ".join(paths[:_SHOWN])
    return shown + (f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else "")


def _kinds(setup: Setup, paths: tuple[str, ...]) -> list[str]:
    """What stands at the paths: ``nn.ReLU``; ``st.ops.relu`` where a forward calls it itself."""
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
    """``model[3]`` or ``model.stage1.conv``, as code reaches a layer."""
    parts = path.split(".") if path else []
    return "model" + "".join(f"[{part}]" if part.isdigit() else f".{part}" for part in parts)


# The optimizer and the loss


@dataclass(frozen=True)
class LearningRate(Change):
    """Another learning rate."""

    lr: float

    def code(self, setup: Setup) -> str:
        rule = setup.optimizer
        momentum = getattr(rule, "momentum", 0.0)
        rest = f", momentum={momentum:g}" if momentum else ""
        return f"optimizer = optim.{type(rule).__name__}(lr={self.lr:.2g}{rest})   # was {rule.lr:g}"

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
    """Rare classes weigh more: N / (C · count)."""

    weights: tuple[float, ...]

    def code(self, setup: Setup) -> str:
        shown = ", ".join(f"{weight:.3g}" for weight in self.weights)
        return f"loss = nn.CrossEntropyLoss(weight=np.array([{shown}]))"

    def apply(self, setup: Setup) -> Setup:
        return replace(setup, loss=CrossEntropyLoss(np.array(self.weights, np.float32)))


# How long, and in which order


@dataclass(frozen=True)
class Epochs(Change):
    """Fewer or more passes over the data."""

    epochs: int

    def code(self, setup: Setup) -> str:
        return f"trainer.fit(train_set, validation, epochs={self.epochs})   # was {setup.epochs}"

    def command(self, setup: Setup) -> str:
        return f"--epochs {self.epochs}"

    def apply(self, setup: Setup) -> Setup:
        return replace(setup, epochs=self.epochs)


@dataclass(frozen=True)
class Shuffle(Change):
    """Batches drawn from all of the data."""

    def code(self, setup: Setup) -> str:
        return "st.Trainer(…, shuffle=True)   # or data.batches(dataset, size, seed=0, epoch=epoch)"

    def apply(self, setup: Setup) -> Setup:
        return replace(setup, shuffle=True)


# The model


@dataclass(frozen=True)
class Activation(Change):
    """Another activation at these paths."""

    paths: tuple[str, ...]
    kind: str = "LeakyReLU"
    slope: float = _SLOPE

    @property
    def _called(self) -> str:
        return f"nn.LeakyReLU({self.slope:g})" if self.kind == "LeakyReLU" else f"nn.{self.kind}()"

    def code(self, setup: Setup) -> str:
        return f"{self._called}   # instead of {', '.join(_kinds(setup, self.paths))} at {_listed(self.paths)}"

    def apply(self, setup: Setup) -> Setup:
        for path in self.paths:
            kind = ACTIVATIONS[self.kind]
            replaced(setup.model, path, LeakyReLU(self.slope) if kind is LeakyReLU else kind())
        return setup


@dataclass(frozen=True)
class Initialization(Change):
    """Weights at these paths drawn in another way; biases start at zero ("torch": as PyTorch's)."""

    paths: tuple[str, ...]
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


_NORMS: dict[int, type[BatchNorm]] = {2: BatchNorm1d, 3: BatchNorm1d, 4: BatchNorm2d, 5: BatchNorm3d}


@dataclass(frozen=True)
class Normalize(Change):
    """Batch normalization before each of these layers, whose inputs have ``ranks`` axes."""

    paths: tuple[str, ...]
    ranks: tuple[int, ...]

    def code(self, setup: Setup) -> str:
        kinds = sorted({_NORMS[rank].__name__ for rank in self.ranks})
        return f"nn.{'(None) or nn.'.join(kinds)}(None)   # before the layers {_listed(self.paths)}"

    def apply(self, setup: Setup) -> Setup:
        for path, rank in zip(self.paths, self.ranks, strict=True):
            layer = layer_at(setup.model, path)
            replaced(setup.model, path, Sequential(_NORMS[rank](None), layer))
        return setup


@dataclass(frozen=True)
class NormOptions(Change):
    """Momentum and ε of batch normalizations."""

    paths: tuple[str, ...]
    momentum: float = 0.1
    eps: float = 1e-5

    def code(self, setup: Setup) -> str:
        options = f"momentum={self.momentum:g}, eps={self.eps:g}"
        return "\n".join(f"{kind}(…, {options})   # at {_listed(self.paths)}" for kind in _kinds(setup, self.paths))

    def apply(self, setup: Setup) -> Setup:
        for path in self.paths:
            layer = layer_at(setup.model, path)
            layer.momentum, layer.eps = self.momentum, self.eps
        return setup


@dataclass(frozen=True)
class Remove(Change):
    """These layers do nothing any more."""

    paths: tuple[str, ...]

    def code(self, setup: Setup) -> str:
        return f"# without the {', '.join(_kinds(setup, self.paths))} at {_listed(self.paths)}"

    def apply(self, setup: Setup) -> Setup:
        for path in self.paths:
            replaced(setup.model, path, Identity())
        return setup


@dataclass(frozen=True)
class Unfreeze(Change):
    """These layers learn."""

    paths: tuple[str, ...]

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
    """The model gives its inputs mean 0 and spread 1."""

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
class DropFeatures(Change):
    """Without these features (columns or channels); the first layer infers its input size anew."""

    features: tuple[int, ...]
    first: str

    def code(self, setup: Setup) -> str:
        shown = ", ".join(map(str, self.features[:_SHOWN])) + (", …" if len(self.features) > _SHOWN else "")
        return f"x = np.delete(x, [{shown}], axis=1)   # in both sets; {_named(self.first)} takes fewer inputs"

    def apply(self, setup: Setup) -> Setup:
        layer = layer_at(setup.model, self.first)
        if isinstance(layer, Linear):
            layer.__dict__["in_features"] = None
            layer.parameter("weight").shape = (layer.out_features, None)
            if "bias" in layer.own_state():
                layer.parameter("bias").fan_in = None
        elif isinstance(layer, Convolution) and layer.groups == 1:
            layer.__dict__["in_channels"] = None
            layer.parameter("weight").shape = (layer.out_channels, None, *layer.kernel_size)
        else:
            raise OptionError(f"{_named(self.first)}: cannot take fewer inputs by itself\n  help: build it anew")
        for parameter in layer.own_state().values():
            parameter.array = None
            parameter.initial = None
        train_set, validation = (
            None if one is None else without_features(one, self.features) for one in (setup.train_set, setup.validation)
        )
        if "standardizer" in dict(setup.model.named_modules()) and train_set is not None:
            _standardize(setup.model, train_set)
        layer.invalidate()
        return replace(setup, train_set=train_set, validation=validation)


def without_features(dataset: Dataset, features: tuple[int, ...]) -> Dataset:
    """A data set without some columns or channels."""
    kept = np.delete(dataset.images, np.array(features, np.int64), axis=1)
    return Dataset(kept, dataset.labels, dataset.classes, dataset.name)


@dataclass(frozen=True)
class DropLeaked(Change):
    """Without the validation samples at these places, which the training set holds too."""

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
    """Labels moved back to their inputs."""

    places: int

    def code(self, setup: Setup) -> str:
        return f"labels = np.roll(labels, {self.places})   # or read inputs and labels from the same row"

    def apply(self, setup: Setup) -> Setup:
        if setup.train_set is None:
            return setup
        one = setup.train_set
        return replace(setup, train_set=Dataset(one.images, np.roll(one.labels, self.places), one.classes, one.name))


@dataclass(frozen=True)
class Renumber(Change):
    """Training labels numbered as the validation set numbers them: new = numbers[old]."""

    numbers: tuple[int, ...]

    def code(self, setup: Setup) -> str:
        shown = ", ".join(map(str, self.numbers[:12])) + (", …" if len(self.numbers) > 12 else "")
        return f"labels = np.array([{shown}])[labels]   # of the training set"

    def apply(self, setup: Setup) -> Setup:
        if setup.train_set is None:
            return setup
        one = setup.train_set
        return replace(setup, train_set=Dataset(one.images, np.array(self.numbers)[one.labels], one.classes, one.name))
