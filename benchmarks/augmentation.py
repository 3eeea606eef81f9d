"""Measure how long the input stage takes to make a batch, including augmentation.

    python benchmarks/augmentation.py
    python benchmarks/augmentation.py --threads 1 --batch-size 64 --size 64

The pictures are random bytes. Each time is the minimum over all batches of several epochs, in milliseconds, because
other programs can only make a batch slower. ``random numbers`` is the part that draws the parameters of the samples.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from report import machine, note, print_table

from striate import settings
from striate.data import Dataset
from striate.data.augment import InputStage
from striate.data.augment.keys import Keys

LISTS = (
    "", "crop:4 flip", "crop:4 flip erase", "crop:4:reflect flip cutout:8", "affine:15 crop:4", "resized-crop flip",
    "jitter:0.2:0.2:0.2:0.1", "noise:5", "randaugment", "crop:4 flip cutmix", "crop:4 flip mixup",
)  # fmt: skip


def least_batch(stage: InputStage, batch_size: int, epochs: int) -> float:
    """Return the minimum time of a batch in milliseconds.

    Random numbers are drawn for several batches at once, so they are not included.
    """
    least = np.inf
    for epoch in range(epochs):
        batches = stage.batches(batch_size, epoch=epoch)
        while True:
            start = time.perf_counter()
            if next(batches, None) is None:
                break
            least = min(least, time.perf_counter() - start)
    return 1000 * least


def least_drawing(stage: InputStage, batch_size: int, epochs: int) -> float:
    """Return the minimum time, in milliseconds, to draw the random numbers of a batch."""
    least = np.inf
    for epoch in range(4 * epochs):
        start = time.perf_counter()
        for role in range(1 + stage.mixes):
            stage.tables(Keys(0, epoch, np.arange(len(stage.dataset)), role))
        least = min(least, time.perf_counter() - start)
    return 1000 * least * batch_size / len(stage.dataset)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=10)
    options = parser.parse_args()
    images = np.random.default_rng(0).integers(0, 256, (2048, 3, options.size, options.size)).astype(np.uint8)
    dataset = Dataset(images, np.arange(len(images)) % 10)
    note(str(machine()))
    rows: list[list[str]] = []
    for text in LISTS:
        row = [text or "(only gathered)"]
        for threads in options.threads:
            settings.override(threads=threads)
            stage = InputStage(dataset, text)
            row.append(f"{least_batch(stage, options.batch_size, options.epochs):.3f}")
        stage = InputStage(dataset, text)
        row.append(f"{least_drawing(stage, options.batch_size, options.epochs):.3f}")
        rows.append(row)
    shape = f"{options.batch_size}×3×{options.size}×{options.size}"
    names = [f"{threads} thread{'s' * (threads > 1)}" for threads in options.threads]
    print_table(f"milliseconds for a batch {shape}", ["transforms", *names, "random numbers"], rows)


if __name__ == "__main__":
    main()
