"""Logistic regression with only ``st.compile`` and ``st.value_and_grad``: functions of arrays, without layers.

python examples/logistic_regression.py
"""

import sys

import numpy as np

import striate as st
from striate.graph.value import Value


def loss(w: Value, b: Value, x: Value, y: Value) -> Value:
    """Mean of −y·log p − (1−y)·log(1−p), where p = σ(x·w + b)."""
    p = st.ops.sigmoid(st.ops.sum(x * w, axis=1) + b)
    return -st.ops.mean(y * st.ops.log(p) + (1 - y) * st.ops.log(1 - p))


def main(steps: int = 100) -> float:
    """Trains, and returns the share of points that are classified correctly."""
    random = np.random.default_rng(0)
    x = random.standard_normal((400, 2)).astype(np.float32)
    y = (x @ np.array([2.0, -1.0]) + 0.5 > 0).astype(np.float32)
    w, b = np.zeros(2, np.float32), np.zeros(1, np.float32)

    gradients = st.value_and_grad(loss, argnums=(0, 1))  # compiled at its first call
    for number in range(steps):
        value, (dw, db) = gradients(w, b, x, y)
        w, b = w - dw, b - db
        if number % 20 == 0:
            print(f"step {number:3}  loss {float(value):.4f}")

    predict = st.compile(lambda x, w, b: st.ops.sigmoid(st.ops.sum(x * w, axis=1) + b))
    accuracy = float(((predict(x, w, b) > 0.5) == (y > 0.5)).mean())
    print(f"w {w}, b {b[0]:.3f}, right {100 * accuracy:.1f} %")
    return accuracy


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
