"""``ConvNetClassifier``, a classifier for scikit-learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import ClassifierMixin
from sklearn.utils import Tags, column_or_1d
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets, type_of_target, unique_labels

from striate.errors import DataError, LabelError, OptionError
from striate.nn.element_loss import loss_of_labels
from striate.nn.loss import Loss, loss_of_classes
from striate.optim.optimizer import Optimizer
from striate.sklearn.base import ConvNet
from striate.sklearn.network import Network

Array = npt.NDArray[Any]


class ConvNetClassifier(ClassifierMixin, ConvNet):
    """A classifier that trains a network of striate, for scikit-learn.

        classifier = ConvNetClassifier(input_shape=(1, 8, 8), epochs=10, random_state=0).fit(X, y)
        probabilities = classifier.predict_proba(X)

    network              a name in ``st.models.MODELS``; a function of (input_shape, outputs) that returns a module; or
                         a module, which is copied. None: a perceptron with two hidden layers for (D,) features, "fcn"
                         for (C, L), "lenet5" for (1, H, W) up to 32×32, "resnet20" for other (C, H, W), "resnet18_3d"
                         for (C, D, H, W)
    network_options      keyword arguments of the named network or of the function
    input_shape          the shape of one sample, such as (C, H, W), if the rows of X are flattened; None: the shape of
                         the rows of X
    loss                 None: ``nn.CrossEntropyLoss()``, or ``nn.BCEWithLogitsLoss()`` for several labels
    optimizer            a name in ``optim.OPTIMIZERS``, or an optimizer; "sgd" has a momentum of 0.9
    learning_rate        None: the rate of a given optimizer, or the usual rate of a named one
    schedule             a name in ``optim.SCHEDULES``, over all steps of one ``fit``
    epochs, batch_size   passes over the data, and samples in a batch
    class_weight         a dict of class → weight ≥ 0 of its samples in the loss (1 if missing), or "balanced": the
                         classes then have the same total weight
    early_stopping       True holds ``validation_fraction`` of the samples out, stops when their loss has not improved
                         for ``patience`` epochs, and keeps the best weights
    standardize          whether each feature or channel is standardized with the mean and standard deviation of the
                         training data; with ``partial_fit``, those of the first call. No effect if ``network`` is a
                         module that has a standardizer
    dtype                "float32" or "float64", in which the network computes
    warm_start           True: ``fit`` continues with the weights of the previous call
    random_state         seed of the weights, the order of the samples, dropout and the validation samples
    n_threads            None: all cores, or in a worker process of joblib its share of them
    verbose              whether the progress and the findings of ``striate.doctor`` are printed

    ``y`` has one label for each sample, of any type that scikit-learn takes, or is a matrix (N, k) of 0 and 1.

    After ``fit``: ``classes_``, ``history_`` (an ``st.train.History``), ``model_`` (the trained module),
    ``input_shape_``, ``n_features_in_``, and ``feature_names_in_`` if X has column names.

    Invalid parameters raise ``OptionError``, a ``ValueError``, in ``fit``.
    """

    targets_are_numbers: ClassVar[bool] = False
    classes_: Array

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
        class_weight: Mapping[Any, float] | str | None = None,
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
        super().__init__(
            network, network_options=network_options, input_shape=input_shape, loss=loss, optimizer=optimizer,
            learning_rate=learning_rate, schedule=schedule, epochs=epochs, batch_size=batch_size,
            early_stopping=early_stopping, validation_fraction=validation_fraction, patience=patience,
            standardize=standardize, dtype=dtype, warm_start=warm_start, random_state=random_state,
            n_threads=n_threads, verbose=verbose,
        )  # fmt: skip
        self.class_weight = class_weight

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """Train one epoch on ``X`` and ``y``, and return the estimator.

        Every call continues with the weights and the optimizer state of the previous call. ``sample_weight`` is as in
        ``fit``.

        The first call needs ``classes``, an array of all labels that will occur, unless ``fit`` was called before.
        ``schedule`` is not used. Raises ``ValueError`` for labels that are not among the classes, for
        ``early_stopping=True``, and for ``class_weight="balanced"``, since the sizes of all classes are unknown.
        """
        if isinstance(self.class_weight, str):
            raise OptionError(
                "class_weight='balanced' needs all samples at once\n"
                "  help: fit, or class_weight={0: 1.0, 1: 2.5} with the weights of your classes"
            )
        if classes is None and not self.__sklearn_is_fitted__():
            raise OptionError(
                "the first call of partial_fit needs classes\n  help: partial_fit(X, y, classes=np.unique(all_labels))"
            )
        return self._train_further(X, y, sample_weight, classes)

    def predict(self, X: Any) -> Array:
        """Return the most probable label of each sample, (N,).

        If a sample can have several labels, the result is a matrix (N, k) with 0 or 1 for each label.
        """
        outputs = self._computed(X)
        if self._several:
            return (outputs > 0).astype(np.int64)
        return self.classes_[outputs.argmax(axis=1)]

    def predict_proba(self, X: Any) -> Array:
        """Return the probability of each class, float64 (N, C), in the order of ``classes_``.

        If a sample can have several labels, each label has a probability of its own, and they need not add up to 1.
        """
        return np.exp(self.predict_log_proba(X))

    def predict_log_proba(self, X: Any) -> Array:
        """Return the natural logarithms of ``predict_proba``, float64 (N, C)."""
        outputs = self._computed(X)
        if self._several:
            return -np.logaddexp(0.0, -outputs)
        outputs = outputs - outputs.max(axis=1, keepdims=True)
        return outputs - np.log(np.exp(outputs).sum(axis=1, keepdims=True))

    def _learn_targets(self, y: Array, weights: Array | None, classes: Array | None) -> None:
        several = type_of_target(y, input_name="y") == "multilabel-indicator"
        if several:
            found = np.arange(y.shape[1])
        else:
            labels = self._labels(y)
            present = labels if weights is None else labels[weights > 0]
            found = unique_labels(labels if classes is None else np.asarray(classes))
            if len(found) < 2 or (classes is None and (present == present[0]).all()):
                raise DataError("y has samples of one class only\n  help: samples of at least two classes")
        self._several, self.classes_ = several, found

    def _labels(self, y: Array) -> Array:
        """Return labels (N,); raises ``ValueError`` for anything but one label for each sample."""
        check_classification_targets(y)
        if y.ndim > 1 and y.shape[1] > 1:
            raise LabelError(f"y is {y.shape}; expected one label for each sample, or a matrix of 0 and 1")
        return column_or_1d(y, warn=True)

    def _encoded(self, y: Array) -> Array:
        if self._several:
            if y.ndim != 2 or y.shape[1] != len(self.classes_) or not np.isin(y, (0, 1)).all():
                raise LabelError(f"y is {y.shape}; expected a matrix (N, {len(self.classes_)}) of 0 and 1, as before")
            return y.astype(np.uint8)
        labels = self._labels(y)
        unknown = ~np.isin(labels, self.classes_)
        if unknown.any():
            place = int(unknown.argmax())
            raise LabelError(
                f"y[{place}] = {labels.tolist()[place]!r} is not among the classes {self.classes_.tolist()}"
            )
        return np.searchsorted(self.classes_, labels).astype(np.int64)

    def _outputs(self) -> int:
        return len(self.classes_)

    def _usual_loss(self) -> Loss:
        return loss_of_labels() if self._several else loss_of_classes()

    def _class_names(self) -> tuple[str, ...]:
        if self._several:
            return ()
        names = tuple(str(name) for name in self.classes_.tolist())
        return names if len(set(names)) == len(names) else tuple(str(number) for number in range(len(names)))

    def _class_factors(self, targets: Array, weights: Array | None) -> Array | None:
        if self.class_weight is None:
            return None
        if self._several:
            raise OptionError("class_weight is for one label a sample\n  help: loss=nn.BCEWithLogitsLoss(pos_weight=…)")
        if isinstance(self.class_weight, Mapping):
            factors = compute_class_weight(dict(self.class_weight), classes=self.classes_, y=self.classes_[targets])
            if not (np.isfinite(factors).all() and (factors >= 0).all()):
                raise OptionError(f"class_weight={self.class_weight!r}; expected finite numbers of 0 or more")
            return factors[targets]
        if self.class_weight != "balanced":
            raise OptionError(f"class_weight={self.class_weight!r}; expected a dict, 'balanced' or None")
        totals = np.bincount(targets, weights, minlength=len(self.classes_))
        present = totals > 0
        factors = np.where(present, totals.sum() / (present.sum() * np.where(present, totals, 1.0)), 1.0)
        return factors[targets]

    def __sklearn_tags__(self) -> Tags:
        """Return the tags by which scikit-learn knows what inputs and targets the estimator takes."""
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
