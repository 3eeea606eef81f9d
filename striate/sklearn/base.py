"""The base class of the classifier and the regressor: parameters, training and prediction."""

from __future__ import annotations

import copy
import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import (
    _check_sample_weight,  # pyright: ignore[reportPrivateUsage] - how all estimators of scikit-learn check weights
    check_is_fitted,
    validate_data,
)

from striate import settings
from striate.data.dataset import Dataset, looks_channels_last
from striate.data.splitting import stratified_split
from striate.data.standardizer import Standardizer
from striate.errors import DataError, OptionError, ShapeError
from striate.nn.loss import Loss
from striate.nn.module import Module
from striate.optim.optimizer import Optimizer
from striate.options import choice, flag, number, whole_number
from striate.sklearn.moments import moments
from striate.sklearn.network import Network, build_network
from striate.sklearn.optimizer import chosen_optimizer
from striate.sklearn.samples import Samples
from striate.step import checked_weights
from striate.train import EarlyStopping, History, Trainer

Array = npt.NDArray[Any]
PREDICTION_BATCH = 256
"""The number of samples that are predicted together."""
_DTYPES = ("float32", "float64")


class ConvNet(BaseEstimator):
    """Base of the estimators (abstract): it trains a network with ``st.Trainer``.

    A subclass defines how ``y`` becomes targets of the network, and how its outputs become predictions. The parameters
    are explained in ``ConvNetClassifier``.
    """

    targets_are_numbers: ClassVar[bool]
    """Whether ``y`` are measured numbers, not labels."""
    history_: History
    input_shape_: tuple[int, ...]
    n_features_in_: int
    _network: Module
    _trainer: Trainer | None  # None after unpickling; ``_step_state`` is then the state of its optimizer
    _step_state: dict[str, Array]

    def __init__(
        self,
        network: Network = None,
        *,
        network_options: Mapping[str, Any] | None = None,
        input_shape: Sequence[int] | None = None,
        loss: Loss | None = None,
        optimizer: str | Optimizer = "adam",
        learning_rate: float | None = None,
        schedule: str = "constant",
        epochs: int = 20,
        batch_size: int = 64,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        patience: int = 5,
        standardize: bool = True,
        dtype: str = "float32",
        warm_start: bool = False,
        random_state: int | np.random.RandomState | None = None,
        n_threads: int | None = None,
        verbose: bool = False,
    ) -> None:
        self.network = network
        self.network_options = network_options
        self.input_shape = input_shape
        self.loss = loss
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.epochs = epochs
        self.batch_size = batch_size
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.standardize = standardize
        self.dtype = dtype
        self.warm_start = warm_start
        self.random_state = random_state
        self.n_threads = n_threads
        self.verbose = verbose

    # What the classifier and the regressor define

    @abstractmethod
    def _learn_targets(self, y: Array, weights: Array | None, classes: Array | None) -> None:
        """Set the attributes that describe the targets ``y``, such as ``classes_``, before the first training.

        ``weights`` (N,) are the sample weights, and ``classes`` all classes, if ``partial_fit`` was given them.
        """

    @abstractmethod
    def _encoded(self, y: Array) -> Array:
        """Return the targets that the loss takes.

        They are class numbers int64 (N,), yes-or-no labels uint8 (N, k), or numbers float64 (N, k).
        """

    @abstractmethod
    def _outputs(self) -> int:
        """Return how many numbers the network computes for each sample."""

    @abstractmethod
    def _usual_loss(self) -> Loss:
        """Return the loss that is minimized if the parameter ``loss`` is None."""

    def _class_names(self) -> tuple[str, ...]:
        """Return the names of the classes, or () if the targets are not class numbers."""
        return ()

    def _class_factors(self, targets: Array, weights: Array | None) -> Array | None:
        """Return the class weight of each sample (N,), or None if all are 1."""
        return None

    # Training

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train the network on ``X`` and ``y``, and return the estimator.

        X              (N, D), or (N, …) with the shape of a sample that the network takes
        y              (N,) or (N, k)
        sample_weight  (N,) numbers of at least 0: with 2 a sample counts as if it were there twice, with 0 as if it
                       were absent. None: all are 1

        With ``warm_start`` a second call continues with the weights of the first one, but with a new optimizer. Raises
        ``ValueError`` for unsuitable data and parameters, and ``NonFiniteError`` if the loss becomes NaN or infinite.
        """
        restart = not (flag("warm_start", self.warm_start) and self.__sklearn_is_fitted__())
        samples = self._samples(X, y, sample_weight, restart, None)
        held_out = None
        if flag("early_stopping", self.early_stopping):
            share = number("validation_fraction", self.validation_fraction, above=0, below=1)
            labels = samples.targets if samples.targets.ndim == 1 else np.zeros(len(samples.x))
            kept, held = stratified_split(labels, share, self._seed)
            samples, held_out = samples.subset(kept), samples.subset(held)
        epochs = whole_number("epochs", self.epochs, 1)
        steps = epochs * -(-len(samples.x) // whole_number("batch_size", self.batch_size, 1))
        optimizer = chosen_optimizer(self.optimizer, self.learning_rate, self.schedule, steps)
        former = None if restart else self.history_
        if restart:
            self._network = self._new_network(samples)
        self._trainer = self._new_trainer(optimizer, former)
        self._train(samples, held_out, epochs)
        return self

    def _train_further(self, X: Any, y: Any, sample_weight: Any, classes: Any) -> Self:
        """Train one epoch on ``X`` and ``y``, with the optimizer's state that the previous call left."""
        if flag("early_stopping", self.early_stopping):
            raise OptionError(
                "partial_fit trains one epoch, so it cannot stop early\n  help: early_stopping=False, or fit"
            )
        restart = not self.__sklearn_is_fitted__()
        samples = self._samples(X, y, sample_weight, restart, classes)
        optimizer = chosen_optimizer(self.optimizer, self.learning_rate, "constant", 1)
        if restart:
            self._network = self._new_network(samples)
            self._trainer = self._new_trainer(optimizer, None)
        elif self._trainer is None or self._made_with != self._made_from(optimizer):
            state = self._step_state if self._trainer is None else self._trainer.step.state_dict()
            self._network.materialize()
            self._trainer = self._new_trainer(optimizer, self.history_)
            if state.keys() == self._trainer.step.state_dict().keys():  # else it is another kind of optimizer
                self._trainer.step.load_state_dict(state)
        self._train(samples, None, 1)
        return self

    def _samples(self, X: Any, y: Any, sample_weight: Any, restart: bool, classes: Any) -> Samples:
        """Return the checked training data without samples of weight 0.

        ``restart`` says that nothing was trained yet: it sets the attributes that describe the data, and the seed.
        """
        x, y = validate_data(
            self, X, y, reset=restart, allow_nd=True, multi_output=True, y_numeric=self.targets_are_numbers,
            dtype=(np.float64, np.float32, np.uint8),
        )  # fmt: skip
        weights = None
        if sample_weight is not None:
            weights = checked_weights(_check_sample_weight(sample_weight, x, dtype=np.float64), len(x))
        if restart:
            self.__dict__.pop("history_", None)  # so that an estimator whose new training fails is not fitted
            self._seed = int(check_random_state(self.random_state).randint(2**31 - 1))
            self.input_shape_ = self._sample_shape(x)
            self._learn_targets(y, weights, classes)
        targets = self._encoded(y)
        return Samples(self._shaped(x), targets, weights, self._class_factors(targets, weights)).present()

    def _sample_shape(self, x: Array) -> tuple[int, ...]:
        """Return the shape of one sample as the network takes it.

        Raises ``ShapeError`` if x does not fit ``input_shape``, and ``DataError`` for channels-last pictures.
        """
        found = x.shape[1:]
        if self.input_shape is None:
            if looks_channels_last(x.shape):
                raise DataError(
                    f"X of shape {x.shape} looks like channels-last pictures (N, H, W, C)\n"
                    f"  help: X.transpose(0, 3, 1, 2), or input_shape={found} if they have {found[0]} channels"
                )
            return found
        given: object = self.input_shape
        if not isinstance(given, Sequence) or isinstance(given, str) or not given:
            raise OptionError(f"input_shape={given!r}; expected the sizes of one sample, such as (1, 8, 8)")
        shape = tuple(whole_number("input_shape", size, 1) for size in given)
        if found != shape and found != (math.prod(shape),):
            raise ShapeError(
                f"input_shape={shape}, but X is {x.shape}\n"
                f"  expected: (N, {math.prod(shape)}) or (N, {', '.join(map(str, shape))})"
            )
        return shape

    def _shaped(self, x: Array) -> Array:
        """Return x with the shape of the network's input; raises ``ShapeError`` for samples unlike those of ``fit``."""
        if x.shape[1:] not in (self.input_shape_, (math.prod(self.input_shape_),)):
            raise ShapeError(
                f"X has samples of shape {x.shape[1:]}, but {type(self).__name__} was fitted on {self.input_shape_}"
            )
        return x.reshape(len(x), *self.input_shape_)

    def _new_network(self, samples: Samples) -> Module:
        """Return a new network for these samples, with their standardizer unless it comes with one of its own."""
        network = build_network(self.network, self.network_options, self.input_shape_, self._outputs())
        try:
            network.infer(self.input_shape_)
        except ShapeError as error:
            if len(self.input_shape_) > 1:
                raise
            raise ShapeError(
                f"{error}\n  help: X has rows; input_shape=(C, H, W) says what shape a row has as a picture"
            ) from error
        network.to(choice("dtype", self.dtype, _DTYPES))
        if flag("standardize", self.standardize) and network.standardizer is None:
            mean, sigma = moments(samples.x, samples.weights)
            network.standardizer = Standardizer(mean, sigma, 0.0)
        names = self._class_names()
        if names:
            network.classes = names
        return network

    def _new_trainer(self, optimizer: Optimizer, former: History | None) -> Trainer:
        """Return a trainer of the network; ``former`` is the history that it continues."""
        callbacks = [EarlyStopping(self.patience)] if self.early_stopping else []
        loss = self._usual_loss() if self.loss is None else copy.deepcopy(self.loss)
        shows = bool(self.verbose)
        trainer = Trainer(
            self._network, loss, optimizer, seed=self._seed, batch_size=self.batch_size, callbacks=callbacks,
            progress=shows, watch=shows,
        )  # fmt: skip
        if former is not None:
            trainer.history.epochs.extend(former.epochs)
        self._made_with = self._made_from(optimizer)
        return trainer

    def _made_from(self, optimizer: Optimizer) -> tuple[object, ...]:
        """Return everything that a trainer depends on besides the network."""
        return optimizer, self.loss, self.batch_size, self.verbose

    def _train(self, samples: Samples, held_out: Samples | None, epochs: int) -> None:
        """Train the network for some epochs; then the estimator is fitted."""
        assert self._trainer is not None
        validation = None if held_out is None else self._dataset(held_out)
        with settings.using_threads(self._threads()):
            self.history_ = self._trainer.fit(
                self._dataset(samples), validation, epochs=epochs, sample_weight=samples.loss_weights,
                validation_weight=None if held_out is None else held_out.loss_weights,
            )  # fmt: skip

    def _dataset(self, samples: Samples) -> Dataset:
        """Return the samples as a data set for the trainer."""
        return Dataset(samples.x, samples.targets, self._class_names(), name="X", channels_first=True)

    def _threads(self) -> int | None:
        """Return the number of threads to compute with, or None for that of the settings."""
        return None if self.n_threads is None else whole_number("n_threads", self.n_threads, 1, settings.MOST_THREADS)

    # Prediction

    def _computed(self, X: Any) -> Array:
        """Return what the network computes for ``X``, float64 (N, k)."""
        check_is_fitted(self)
        x = self._shaped(validate_data(self, X, reset=False, allow_nd=True, dtype=(np.float64, np.float32, np.uint8)))
        with settings.using_threads(self._threads()):
            parts = [
                np.asarray(self._network(x[first : first + PREDICTION_BATCH]), np.float64)
                for first in range(0, len(x), PREDICTION_BATCH)
            ]
        return np.concatenate(parts)

    @property
    def model_(self) -> Module:
        """The trained model, for ``st.save``, ``st.insight`` and everything else that takes a model.

        It includes the standardization of the inputs.
        """
        check_is_fitted(self)
        return self._network

    # What scikit-learn asks

    def __sklearn_is_fitted__(self) -> bool:
        """Return whether the estimator has been trained."""
        return "history_" in vars(self)

    def __sklearn_tags__(self) -> Tags:
        """Return the tags by which scikit-learn knows what inputs and targets the estimator takes."""
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    def __getstate__(self) -> dict[str, Any]:
        """Return the contents of a pickle: parameters, network, history, and the optimizer's state."""
        state = dict(super().__getstate__())
        trainer: object = state.get("_trainer")
        if isinstance(trainer, Trainer):
            state |= {"_trainer": None, "_step_state": trainer.step.state_dict()}
        return state
