"""Time a grid search with one job and with two, alternately: ``python benchmarks/grid_search.py``.

Each search trains LeNet-5 on the digits of scikit-learn, ``--fits`` times. With one job, a training uses all threads;
with two jobs, two worker processes share them. Rows "new" are searches that start their worker processes, which must
import scikit-learn; rows "again" are searches that reuse the workers of the previous search.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time

from joblib.externals.loky import get_reusable_executor
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV

from striate.sklearn import ConvNetClassifier


def seconds(jobs: int, fits: int, epochs: int) -> float:
    """Return the wall time of one grid search with ``jobs`` jobs and ``fits`` trainings, in seconds."""
    x, y = load_digits(return_X_y=True)
    classifier = ConvNetClassifier(input_shape=(1, 8, 8), epochs=epochs, random_state=0)
    rates = [0.001 * (1 + i) for i in range(fits // 2)]
    start = time.perf_counter()
    GridSearchCV(classifier, {"learning_rate": rates}, cv=2, n_jobs=jobs, refit=False).fit(x, y)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--fits", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=60)
    options = parser.parse_args()
    seconds(1, options.fits, 1)  # compiles
    ratios: dict[str, list[float]] = {"new": [], "again": []}
    for _ in range(options.rounds):
        get_reusable_executor().shutdown(wait=True)  # the workers of the previous round
        for workers, found in ratios.items():
            two, one = (seconds(jobs, options.fits, options.epochs) for jobs in (2, 1))
            found.append(two / one)
            load = os.getloadavg()[0]
            print(f"{workers:5} one job {one:6.2f} s, two jobs {two:6.2f} s, ratio {two / one:.2f}, load {load:.1f}")
    for workers, found in ratios.items():
        print(f"{workers:5} median ratio {statistics.median(found):.2f}")


if __name__ == "__main__":
    main()
