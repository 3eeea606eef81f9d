"""``ConvNetRegressor``, a regressor for scikit-learn."""

from __future__ import annotations

import copy
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import RegressorMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from striate.errors import ShapeError
from striate.nn.loss import Loss, loss_of_measured_targets
from striate.nn.measured import rescaled
from striate.nn.module import Module
from striate.sklearn.base import ConvNet
from striate.sklearn.moments import moments

Array = npt.NDArray[Any]


class ConvNetRegressor(RegressorMixin, ConvNet):
    """A regressor that trains a network of striate, for scikit-learn.

        regressor = ConvNetRegressor(epochs=50, random_state=0).fit(X, y)
        predictions = regressor.predict(X)

    The parameters are those of ``ConvNetClassifier`` without ``class_weight``. The loss is ``nn.MSELoss()`` unless
    ``loss`` is another one, such as ``nn.HuberLoss()``. ``y`` is (N,), or (N, k) for k targets.

    ``standardize`` also standardizes the targets, so that the learning rate does not depend on their unit; the losses
    in ``history_`` are those of the standardized targets. ``predict`` and ``model_`` return numbers in the unit of y.

    After ``fit``: ``history_`` (an ``st.train.History``), ``model_`` (a module), ``input_shape_``, ``n_features_in_``,
    and ``feature_names_in_`` if X has column names.
    """

    targets_are_numbers: ClassVar[bool] = True

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train one epoch on ``X`` and ``y``, and return the estimator.

        Every call continues with the weights and the optimizer state of the previous call. ``sample_weight`` is as in
        ``fit``.

        ``schedule`` is not used. Targets are standardized as in the first call. Raises ``ValueError`` for
        ``early_stopping=True``, and for ``y`` of another shape than in the first call.
        """
        return self._train_further(X, y, sample_weight, None)

    def predict(self, X: Any) -> Array:
        """Return the predicted targets, float64, with shape (N,) or (N, k) like ``y`` in ``fit``."""
        outputs = self._computed(X)
        if len(self._mean) != outputs.shape[1]:
            raise ShapeError(f"the network returns {outputs.shape[1]} numbers for each sample, not {len(self._mean)}")
        return (outputs * self._sigma + self._mean).reshape(len(outputs), *self._target_shape)

    @property
    def model_(self) -> Module:
        """The trained model, for ``st.save`` and everything else that takes a model.

        The outputs of the model are y (N, k), in the unit of y. With ``standardize``, each access returns a new copy.
        """
        check_is_fitted(self)
        if not self.standardize:
            return self._network
        return rescaled(copy.deepcopy(self._network), self._mean, self._sigma).to(self.dtype)

    def _learn_targets(self, y: Array, weights: Array | None, classes: Array | None) -> None:
        self._target_shape = y.shape[1:]
        targets = y.reshape(len(y), -1)
        self._mean, self._sigma = np.zeros(targets.shape[1]), np.ones(targets.shape[1])
        if self.standardize:
            self._mean, self._sigma = moments(targets, weights)

    def _encoded(self, y: Array) -> Array:
        if y.shape[1:] != self._target_shape:
            expected = f"({', '.join(['N', *map(str, self._target_shape)])}{'' if self._target_shape else ','})"
            raise ShapeError(f"y is {y.shape}, but in the first call it was {expected}")
        return (y.reshape(len(y), -1) - self._mean) / self._sigma

    def _outputs(self) -> int:
        return len(self._mean)

    def _usual_loss(self) -> Loss:
        return loss_of_measured_targets()

    def __sklearn_tags__(self) -> Tags:
        """Return the tags by which scikit-learn knows what inputs and targets the estimator takes."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
