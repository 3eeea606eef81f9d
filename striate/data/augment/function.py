"""``Lambda``: a Python function as an augmentation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import numpy as np
import numpy.typing as npt

from striate.data.augment.transform import Transform
from striate.errors import OptionError

Array = npt.NDArray[Any]


@dataclass(frozen=True, repr=False)
class Lambda(Transform):
    """Call ``function(x, random)`` for each sample x (C, …), and train on the array that it returns.

    ``random`` is a ``numpy.random.Generator`` whose numbers depend on (seed, epoch, sample), so a function that draws
    all its random numbers from it gives the same results in every run. The result must have the shape and dtype of x,
    which the function may overwrite. The function runs in Python, one sample at a time, and is therefore slow. For
    samples of every kind. Raises ``OptionError`` if ``function`` is not callable and, when a batch is made, if its
    result has another shape or dtype.

    >>> import numpy as np
    >>> Lambda(lambda x, random: np.roll(x, random.integers(8), axis=-1)).ranks
    (0, 1, 2, 3)
    """

    ranks: ClassVar[tuple[int, ...]] = (0, 1, 2, 3)
    whole_samples: ClassVar[bool] = True
    function: Callable[[Array, np.random.Generator], Array]

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise OptionError(f"Lambda({self.function!r}); expected a function of (x, random)")

    def __repr__(self) -> str:
        """Return ``Lambda(NAME)`` without the address of the function, so that the text is the same in every run."""
        return f"Lambda({getattr(self.function, '__qualname__', type(self.function).__name__)})"

    def on_batch(self, batch: Array, words: Array) -> None:
        """Replace each sample of the batch (B, C, …), in place, by the result of the function.

        Row b of ``words`` (B, 2) is the seed of the random numbers of sample b. Raises ``OptionError`` for a result of
        another shape or dtype.
        """
        for place, sample in enumerate(batch):
            random = np.random.Generator(np.random.Philox(key=words[place].astype(np.uint64)))
            found = self.function(sample, random)
            given = cast("object", found)
            if not isinstance(given, np.ndarray) or found.shape != sample.shape or found.dtype != batch.dtype:
                text = f"{found.dtype} {found.shape}" if isinstance(given, np.ndarray) else type(given).__name__
                raise OptionError(
                    f"the function of Lambda returned {text} for a sample {batch.dtype} {sample.shape}\n"
                    "  help: return an array of the same shape and dtype: y.astype(x.dtype)"
                )
            batch[place] = found
