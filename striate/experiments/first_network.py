"""Experiment M3: a convolutional network with one hidden layer, also recomputed in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

from striate.experiments import drawing
from striate.experiments.experiment import Experiment, Size, Work
from striate.experiments.measurement import Array, Form, Measurement, Quantity
from striate.experiments.prediction import Prediction
from striate.experiments.training import prepared, train
from striate.models import first_cnn
from striate.nn.container import Sequential
from striate.nn.convolution import Conv2d
from striate.nn.linear import Linear
from striate.nn.module import Module
from striate.nn.shaping import Flatten
from striate.optim import SGD
from striate.train.evaluation import log_softmax

NETWORK, WITHOUT, LINEAR = "f(x), with tanh", "f(x), without tanh", "x W + b, no hidden layer"
SETTINGS = (NETWORK, WITHOUT, LINEAR)
FILTERS = 16


def by_hand(x: Array, weights: dict[str, Array]) -> Array:
    """Return tanh(x ⊗ W₁ + b₁) W_out + b_out in NumPy and float64, for x (N, C, H, W); ⊗ is a convolution.

    ``weights`` are the parameters of the ``FirstNetwork`` model, by name.
    """
    w, b = weights["0.weight"], weights["0.bias"]
    kernel = w.shape[2]
    windows = np.lib.stride_tricks.sliding_window_view(x, (kernel, kernel), axis=(2, 3))
    hidden = np.tanh(np.einsum("nchwkl,ockl->nohw", windows, w) + b[:, None, None])
    return hidden.reshape(len(x), -1) @ weights["3.weight"].T + weights["3.bias"]


class FirstNetwork(Experiment):
    """Compares a network with one hidden layer, the same network without tanh, and a linear map."""

    name = "M3"
    title = "A convolutional network"
    equation = "f(x) = tanh(x ⊗ W₁ + b₁) W_out + b_out"
    setup = (
        f"first_cnn: one hidden layer of {FILTERS} filters with tanh, flattened, and a linear map. Beside it the same "
        "network without tanh, and the linear map alone. SGD, learning rate 0.005, momentum 0.9, batches of 32. "
        "Recount: the largest difference between the outputs and the equation written out in NumPy, in float64."
    )
    data = "mnist"
    size = Size(seeds=3, samples=4000, held_out=2000, epochs=4)
    usual_seconds = 5
    quantities = (Quantity("accuracy"), Quantity("recount", Form.POWER, spread=False))
    predictions = (
        Prediction(
            "What striate computes is the equation: the recount differs by less than 0.001.",
            lambda found: found.high(NETWORK, "recount") < 1e-3,
            lambda found: f"at most {Form.POWER.text(found.high(NETWORK, 'recount'))}",
        ),
        Prediction(
            "The network learns: held-out accuracy above 90 % in every seed.",
            lambda found: found.low(NETWORK, "accuracy") > 0.9,
            lambda found: found.text(NETWORK, "accuracy"),
        ),
        Prediction(
            "The hidden layer is worth at least 2 points over the linear map alone.",
            lambda found: found.median(NETWORK, "accuracy") - found.median(LINEAR, "accuracy") >= 0.02,
            lambda found: f"{found.short(LINEAR, 'accuracy')} → {found.short(NETWORK, 'accuracy')}",
        ),
        Prediction(
            "Without tanh the hidden layer brings nothing (less than 1.5 points over the linear map): two linear maps "
            "are one.",
            lambda found: found.median(WITHOUT, "accuracy") - found.median(LINEAR, "accuracy") < 0.015,
            lambda found: f"{found.short(LINEAR, 'accuracy')} → {found.short(WITHOUT, 'accuracy')}",
            condition="the hidden layer needs its nonlinearity",
        ),
    )

    def network(self, setting: str, work: Work) -> Sequential:
        """Return the network of ``setting``, a name in ``SETTINGS``, for the data set of ``work``."""
        if setting == NETWORK:
            return first_cnn(work.shape[0], work.classes, filters=FILTERS, kernel=work.kernel)
        if setting == WITHOUT:
            layer = Conv2d(work.shape[0], FILTERS, work.kernel, init="xavier")
            return Sequential(layer, Flatten(), Linear(None, work.classes))
        return Sequential(Flatten(), Linear(None, work.classes))

    def measure(self, work: Work) -> Measurement:
        found = Measurement(self.quantities)
        for setting, seed in work.runs(SETTINGS):
            train_set = work.samples(seed)
            model = prepared(self.network(setting, work), train_set, seed)
            rule = SGD(lr=0.005, momentum=0.9)
            done = train(model, train_set, rule, seed=seed, epochs=work.size.epochs)
            found.add(setting, accuracy=done.accuracy(work.held_out))
            found.arrays[setting] = np.vstack([found.arrays.get(setting, np.empty((0, work.size.epochs))), done.losses])
            if setting == NETWORK:
                found.add(setting, recount=self.recount(model, work.held_out.images[:64]))
                if seed == 0:
                    found.arrays |= self.examples(model, work)
        return found

    def recount(self, model: Module, images: Array) -> float:
        """Return the largest |difference| between the network's outputs and ``by_hand`` on these images."""
        weights = {name: array.astype(np.float64) for name, array in model.named_parameters()}
        x = np.asarray(dict(model.named_modules())["standardizer"](images.astype(np.float32)), np.float64)
        return float(np.abs(np.asarray(model(images)) - by_hand(x, weights)).max())

    def examples(self, model: Module, work: Work) -> dict[str, Array]:
        """Return up to four held-out pictures with labels and predicted probabilities, for the figure.

        They are three correct predictions and the worst mistake: the picture whose true class has the least
        probability. Without any mistake, the last is the least certain correct prediction. The result has the arrays
        "images" (n, H, W), the mean over the channels; "shares" (n, classes), the probabilities; and "labels" (n,).
        """
        images, labels = work.held_out.images, work.held_out.labels
        shares = np.exp(log_softmax(np.asarray(model(images))))
        sureness = shares[np.arange(len(labels)), labels]
        wrong = np.flatnonzero(shares.argmax(axis=1) != labels)
        right = np.flatnonzero(shares.argmax(axis=1) == labels)[:3]
        worst = wrong[np.argmin(sureness[wrong])] if len(wrong) else np.argmin(sureness)
        chosen = np.append(right, worst)
        return {"images": images[chosen].mean(axis=1), "shares": shares[chosen], "labels": labels[chosen]}

    def draw(self, found: Measurement, figure: Any) -> None:
        left, right = figure.subfigures(1, 2, width_ratios=(1, 1.1))
        top, bottom = left.subplots(2, 1, height_ratios=(1.2, 1))
        colours = {NETWORK: drawing.BLUE, WITHOUT: drawing.PURPLE, LINEAR: drawing.ORANGE}
        for setting in SETTINGS:
            curves = found.arrays[setting]
            epochs = range(1, curves.shape[1] + 1)
            drawing.band(top, epochs, curves.min(0), np.median(curves, 0), curves.max(0), colours[setting], setting)
        top.set_xticks(range(1, found.arrays[NETWORK].shape[1] + 1))
        top.set_ylim(0)
        top.grid(axis="y")
        top.set_xlabel("epoch")
        top.set_ylabel("training loss")
        top.set_title("Learning")
        top.legend(fontsize=9)
        drawing.bars(bottom, found, "accuracy", SETTINGS, colours=list(colours.values()))
        bottom.set_xlabel("held-out accuracy, %")
        panels = right.subplots(len(found.arrays["labels"]), 2, width_ratios=(1, 2.4))
        for (image_axes, bar_axes), image, shares, label in zip(
            panels, found.arrays["images"], found.arrays["shares"], found.arrays["labels"]
        ):
            drawing.picture(image_axes, image)
            guess = int(shares.argmax())
            good = guess == label
            colour = drawing.GREEN if good else drawing.RED
            chosen = [colour if place == guess else drawing.FAINT for place in range(len(shares))]
            bar_axes.bar(range(len(shares)), 100 * shares, color=chosen)
            bar_axes.set_ylim(0, 105)
            bar_axes.set_yticks([0, 50, 100])
            bar_axes.set_xticks(range(len(shares)))
            verdict = "right" if good else f"wrong, it is a {label}"
            bar_axes.set_title(f"{guess}, {100 * shares[guess]:.0f} %: {verdict}", fontsize=10, color=colour)
        panels[-1][1].set_xlabel("class; probability in %")
