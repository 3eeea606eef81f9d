"""Why data is standardized, x̂ = (x − μ) / σ: training with and without, on two features a million-fold apart.

python examples/standardizer.py
"""

import sys

import numpy as np

import striate as st
from striate import data, nn, optim


def measurements(count: int, seed: int) -> data.Dataset:
    """A height in metres, an income in cents, and a third feature that never changes."""
    random = np.random.default_rng(seed)
    height, income = 1.7 + 0.1 * random.standard_normal(count), 3e6 * (1 + 0.3 * random.standard_normal(count))
    label = ((height - 1.7) / 0.1 + (income - 3e6) / 9e5 > 0).astype(np.int64)
    features = np.stack([height, income, np.full(count, 7.0)], axis=1).astype(np.float32)
    return data.Dataset(features, label, ("small", "large"))


def accuracy(train_set: data.Dataset, held_out: data.Dataset, standardized: bool, epochs: int) -> float:
    """The held-out accuracy of a network that is trained on raw or on standardized data."""
    model = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 2)).initialize(seed=0)
    if standardized:
        model.standardizer = data.Standardizer.fit(train_set.images)  # σ = √(ε + variance): 7, 7, 7, … becomes 0
    rule = optim.SGD(lr=0.05, momentum=0.9)
    trainer = st.Trainer(model, nn.CrossEntropyLoss(), rule, batch_size=32, progress=False)
    trainer.fit(train_set, epochs=epochs)
    return trainer.evaluate(held_out).accuracy


def main(epochs: int = 10) -> tuple[float, float]:
    """Trains twice, and returns the accuracies with raw and with standardized data."""
    train_set, held_out = measurements(512, seed=1), measurements(256, seed=2)
    raw, standardized = (accuracy(train_set, held_out, choice, epochs) for choice in (False, True))
    print(f"raw data           {100 * raw:.1f} %")
    print(f"standardized data  {100 * standardized:.1f} %")

    fitted = data.Standardizer.fit(train_set.images)
    strange = held_out.images.copy()
    strange[3, 1] *= 100  # somebody entered hundredths of cents
    for one in fitted.outliers(strange):
        print(one)
    return raw, standardized


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
