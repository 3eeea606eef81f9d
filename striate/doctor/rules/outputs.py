"""Rules about the end of the network: the loss at the start, the last layer, and the predictions."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from striate.doctor.changes import Activation, ClassWeights, Initialization, MeanLoss, Outputs, Remove
from striate.doctor.finding import Finding, Severity
from striate.doctor.remedy import Change, Remedy
from striate.doctor.rule import When, rule
from striate.doctor.structure import Passed
from striate.doctor.training_trace import TrainingTrace

EXCESS = 2.0
SAME = 0.95
MAJORITY = 0.8
NEARLY_CONSTANT = 0.02
FLAT = 2
"""The number of axes of the input of a linear layer."""
RARE = 0.25
LARGE_GAIN = 4.0
"""A large √(mean w² · fan-in): 1.4 keeps the spread through ReLU, 1.7 is the largest usual one."""
_LIMITS = "the smallest loss that it can reach is ln(1 + (C − 1)/e^r) for scores within r of each other"


@rule(
    "one_output",
    When.ONCE,
    looks_for="a softmax over a single unit, and fewer outputs than there are classes",
    threshold="a softmax at the end of a network with one output; or a loss that compares scores with labels, of which "
    "some have no output",
    source="exact: e^x / e^x = 1 for every x, and its derivative is 0",
    why="A softmax over one unit is 1 whatever the input, and passes no gradient.",
    remedy="one output: a sigmoid; cross entropy: as many outputs as classes, and no softmax",
    explains=(
        "softmax_twice", "no_gradient", "constant_predictions", "learning_rate_too_low", "labels_shuffled",
        "vanishing_gradients", "bounded_outputs", "dead_units", "unexplained", "stale_statistics",
    ),
)  # fmt: skip
def one_output(trace: TrainingTrace) -> Iterator[Finding]:
    """Find a softmax over a single unit, which is always 1, or fewer outputs than classes."""
    structure, setup = trace.structure, trace.setup
    if structure is None or not structure.outputs or not structure.maps:
        return
    classes = len(trace.data.dataset.classes) if trace.data is not None and setup.classifies else 0
    constant = structure.probabilities and structure.outputs == 1
    last, head = structure.last, structure.maps[-1]
    layered = last is not None and last.op is not None and last.op.gives_probabilities
    if setup.classifies and structure.outputs < classes:
        loss = type(setup.loss).__name__
        changes: list[Change] = [Outputs((head.path,), classes)] if head.rank == FLAT else []
        if layered and last is not None:
            changes.insert(0, Remove((last.path,)))
        softmax = "and a softmax over one unit, which is always 1" if constant else f"for {classes} classes"
        count = "one output" if structure.outputs == 1 else f"{structure.outputs} outputs"
        text = f"give the last layer {classes} outputs" + (", and leave the softmax out" if constant else "")
        yield Finding(
            "one_output", Severity.ERROR, head.path, (), 0.99, {"outputs": structure.outputs, "classes": classes},
            f"the network has {count}, {softmax}" if constant else f"the network has {count} {softmax}",
            f"{loss} compares one score for each class, and applies softmax itself.",
            Remedy.of(setup, text, *changes) if changes else Remedy(text),
            "classes",
        )  # fmt: skip
    elif constant:
        text = "use a sigmoid, which is the softmax of two classes with one unit; or two units"
        change = (Activation((last.path,), "sigmoid"),) if layered and last is not None else ()
        yield Finding(
            "one_output", Severity.ERROR, last.path if layered and last else head.path, (), 0.99, {"outputs": 1},
            "a softmax over a single unit is always 1",
            "e^x / e^x = 1 for every x: the prediction does not depend on the weights, and every gradient is 0.",
            Remedy.of(setup, text, *change) if change else Remedy(text, "return st.ops.sigmoid(z)   # not softmax"),
            "softmax",
        )  # fmt: skip


@rule(
    "softmax_twice",
    When.START,
    looks_for="a softmax at the end of a network whose loss applies softmax itself",
    threshold="a Softmax layer at the end, or outputs of every sample that are positive and add up to 1 (to 1e-4)",
    source=f"softmax of numbers in [0, 1]: {_LIMITS}, 1.46 nats for 10 classes and r = 1",
    why="The second softmax gets probabilities, which differ by at most 1, and makes them nearly equal: the "
    "loss has a floor and a small gradient.",
    remedy="leave the softmax out",
    explains=(
        "learning_rate_too_low", "vanishing_gradients", "constant_predictions", "labels_shuffled:nothing learned",
        "learning_rate_too_high",
    ),
)  # fmt: skip
def softmax_twice(trace: TrainingTrace) -> Iterator[Finding]:
    """Find a softmax at the end of a network whose loss applies softmax as well."""
    if not trace.setup.classifies or trace.structure is None:
        return
    last = trace.structure.last
    layered = last is not None and last.op is not None and last.op.gives_probabilities
    if trace.structure.outputs == 1:
        return  # another fault: one_output
    if not layered and not trace.structure.probabilities and not (trace.probes and trace.probes[-1].squashed):
        return
    classes = len(trace.data.dataset.classes) if trace.data else 10
    where = last.path if layered and last else "loss"
    least = math.log(1 + (classes - 1) / math.e)
    loss = type(trace.setup.loss).__name__
    hand = Remedy("return the scores before the softmax", "return logits   # not st.ops.softmax(logits)")
    yield Finding(
        "softmax_twice", Severity.ERROR, where, (), 0.99 if layered or trace.structure.probabilities else 0.9,
        {"smallest loss possible": least, "classes": classes},
        f"softmax is applied twice: by the network and by {loss}",
        f"{loss} takes scores (logits) and applies softmax itself. Of probabilities, which differ by at most "
        f"1, it makes nearly equal ones: the loss cannot fall below {least:.2f}, and its gradient is small.",
        Remedy.of(trace.setup, "leave the softmax out; predictions rank the same", Remove((where,)))
        if layered
        else hand,
    )  # fmt: skip


@rule(
    "bounded_outputs",
    When.START,
    looks_for="an activation between the last linear map and the loss",
    threshold="an activation with bounded outputs (sigmoid, tanh, ReLU) at the end of a network that is trained by "
    "cross entropy, or whose targets are numbers of which 2 % are out of these bounds",
    source=f"{_LIMITS}: 0.80 nats for tanh and 10 classes; a ReLU gives no gradient to a class whose score is below 0",
    why="Scores that are bounded cannot become sure; a ReLU gives no gradient to a class whose score "
    "is negative.",
    remedy="leave the activation out",
    explains=(
        "constant_predictions", "learning_rate_too_low", "dead_units", "vanishing_gradients", "saturated_units",
        "labels_shuffled:nothing learned", "unscaled_targets", "no_gradient", "unexplained",
    ),
)  # fmt: skip
def bounded_outputs(trace: TrainingTrace) -> Iterator[Finding]:
    """Find a bounded activation at the end of a network whose outputs must be able to take any value."""
    last = trace.structure.last if trace.structure else None
    activation = last.activation if last is not None else None
    if last is None or activation is None:
        return
    low, high = activation.output_bounds
    if not (math.isfinite(low) or math.isfinite(high)):
        return
    if not trace.setup.classifies:
        yield from _out_of_reach(trace, last, low, high)
        return
    loss = type(trace.setup.loss).__name__
    yield Finding(
        "bounded_outputs", Severity.ERROR, last.path, (), 0.95, {},
        f"{last.name} stands between the last linear map and the loss",
        f"{loss} takes scores of any size and sign. "
        + (f"Between {low:g} and {high:g} they cannot become sure." if math.isfinite(low) and math.isfinite(high)
           else "A class whose score is negative for a sample gets no gradient from it."),
        Remedy.of(trace.setup, "leave it out", Remove((last.path,))),
    )  # fmt: skip


def _out_of_reach(trace: TrainingTrace, last: Passed, low: float, high: float) -> Iterator[Finding]:
    """Find targets outside the range of the last activation."""
    targets = trace.targets
    if targets is None or targets.count < 10:
        return
    least, lower, upper, largest = targets.quantiles
    if not (lower < low - 1e-6 or upper > high + 1e-6):
        return
    bounds = f"between {low:g} and {high:g}" if math.isfinite(low) and math.isfinite(high) else (
        f"above {low:g}" if math.isfinite(low) else f"below {high:g}")  # fmt: skip
    yield Finding(
        "bounded_outputs", Severity.ERROR, last.path, (), 0.97, {"smallest target": least, "largest target": largest},
        f"{last.name} at the end gives numbers {bounds}, but targets go from {least:.3g} to {largest:.3g}",
        "What the last activation cannot reach cannot be predicted, and near its ends hardly any gradient passes.",
        Remedy.of(trace.setup, "leave it out (or bring the targets into its range)", Remove((last.path,))),
        "targets",
    )  # fmt: skip


@rule(
    "loss_at_start",
    When.EARLY,
    looks_for="a first loss far above ln C, the loss of equal probabilities",
    threshold="2 nats above; or a loss that sums over the batch instead of taking its mean",
    source="scores of spread s cost about s²/2 nats more than equal ones: 2 nats are scores of spread 2, where "
    "PyTorch's start gives 0.1 to 0.6 and He's 1.4",
    why="The network is sure before it has learned anything, and mostly wrong; the first steps go "
    "into unlearning that.",
    remedy="start the last layer smaller; take the mean loss",
    explains=(
        "learning_rate_too_high", "exploding_gradients", "constant_predictions", "dead_units:learning rate",
        "learning_rate_too_low",
    ),
)  # fmt: skip
def loss_at_start(trace: TrainingTrace) -> Iterator[Finding]:
    """Find a first loss far above that of equal probabilities, or a loss that sums over the batch."""
    structure = trace.structure
    if not trace.losses or trace.continued or structure is None or not structure.maps:
        return
    if trace.setup.loss.reduction == "sum":
        size = trace.setup.batch_size
        yield Finding(
            "loss_at_start", Severity.WARNING, "loss", (), 0.8,
            {"loss at the start": trace.start_loss, "batch size": size, "a sample": trace.start_loss / size},
            f"the loss is a sum over the batch: gradients are {size} times those of a mean",
            "The learning rate then means another thing for every batch size, and usual ones are too large.",
            Remedy.of(trace.setup, "take the mean", MeanLoss()),
            "sum",
        )  # fmt: skip
        return
    if not trace.setup.classifies or trace.baseline is None:
        return
    classes = len(trace.data.dataset.classes) if trace.data else 0
    equal = math.log(classes) if classes > 1 else trace.baseline
    if not trace.start_loss > equal + EXCESS:
        return
    last = structure.maps[-1]
    reading = trace.readings[0].layers.get(last.path) if trace.readings else None
    std = reading.std if reading else math.nan
    inner = tuple(one.path for one in structure.maps[:-1] if trace.gains.get(one.path, 0.0) > LARGE_GAIN)
    changes = (Initialization((last.path,), "torch"),)
    text = "start the last layer smaller"
    if inner:
        init = "xavier" if all(saturates(one) for one in structure.activations) else "he"
        changes = (Initialization(tuple(one.path for one in structure.maps[:-1]), init), *changes)
        text = f"start the layers smaller: init={init!r}"
    yield Finding(
        "loss_at_start", Severity.WARNING, last.path, (), 0.9,
        {"loss at the start": trace.start_loss, "ln C": equal, "spread of the scores": std},
        f"the loss starts at {trace.start_loss:.3g} instead of ln C = {equal:.3g}: "
        f'layer "{last.path}" starts too large',
        "Before it has learned anything the network is sure, and mostly wrong. The first steps are spent on "
        "unlearning that, with gradients that are too large for the layers before.",
        Remedy.of(trace.setup, text, *changes),
        "initialization",
    )  # fmt: skip


@rule(
    "constant_predictions",
    When.EPOCH,
    looks_for="one answer to everything",
    threshold="95 % of a training sample get the same class, though it has at most 80 % of the labels; with rarer "
    "other classes, all of them; in regression, outputs whose spread is below 2 % of the targets'",
    source="a constant prediction reaches the loss H(labels) at best",
    why="The output does not depend on the input. Mostly a symptom; by itself where rare classes "
    "hardly count in the mean loss.",
    remedy="class weights N / (C · count) where classes are rare; else the finding that explains it",
)
def constant_predictions(trace: TrainingTrace) -> Iterator[Finding]:
    """Find a network that predicts the same for nearly all samples.

    This is mostly a symptom; a finding that explains it is ranked before it.
    """
    yield from _flat_regression(trace)
    yield from _one_answer(trace)
    sample = trace.data
    if not trace.probes or not trace.finished or sample is None or not trace.setup.classifies or trace.steps < 30:
        return
    probe = trace.probes[-1]
    top = float(sample.class_shares.max())
    present = int((sample.class_shares > 0).sum())
    if present < 2 or probe.top_share < SAME:
        return
    name = sample.dataset.classes[min(probe.top_class, len(sample.dataset.classes) - 1)]
    evidence = {"predicted": probe.top_share, "of the labels": float(sample.class_shares[probe.top_class])}
    if top > MAJORITY:
        if probe.top_share < 1 or probe.top_class != int(sample.class_shares.argmax()):
            return
        counts = np.maximum(sample.class_shares * len(sample.dataset), 1)
        weights = tuple(float(f"{len(sample.dataset) / (present * count):.3g}") for count in counts)
        yield Finding(
            "constant_predictions", Severity.WARNING, "labels", (probe.top_class,), 0.85, evidence,
            f"every sample is predicted to be class {name!r}, which {100 * top:.3g} % of the labels are",
            "To answer the frequent class always is cheap: the rare ones hardly count in the mean loss.",
            Remedy.of(trace.setup, "let rare classes weigh more in the loss", ClassWeights(weights)),
            "imbalance",
        )  # fmt: skip
        return
    yield Finding(
        "constant_predictions", Severity.ERROR, _last_path(trace), (probe.top_class,), 0.9, evidence,
        f"{100 * probe.top_share:.3g} % of the training samples are predicted to be class {name!r}",
        "The output hardly depends on the input. Look at the first layer whose outputs do not vary, and at its "
        "gradient: step.watch() has both.",
        Remedy("see the other findings"),
        "unknown",
    )  # fmt: skip


def _one_answer(trace: TrainingTrace) -> Iterator[Finding]:
    """Find a single output that predicts the more frequent of 0 and 1 for every sample.

    This serves losses that the user wrote, where no class numbers are known.
    """
    targets, answers = trace.targets, trace.answers
    if targets is None or answers is None or not trace.finished or trace.steps < 30 or trace.exploded:
        return
    if not targets.rarer < RARE or answers.count < 20:
        return
    usual = 1.0 if targets.mean > 0.5 else 0.0
    learned = abs(answers.mean - targets.mean) < max(0.5 * targets.rarer, 0.03)  # else it is still moving
    if answers.positive != usual or not learned:
        return
    factor = (1 - targets.rarer) / targets.rarer
    rarer = "1" if usual == 0 else "0"
    yield Finding(
        "constant_predictions", Severity.WARNING, "labels", (), 0.9,
        {"share of the rarer": targets.rarer, "mean prediction": answers.mean, "predicted 1": answers.positive},
        f"every sample is predicted to be {int(usual)}, which {100 * (1 - targets.rarer):.3g} % of the targets are",
        "To answer the frequent class always is cheap: the rare one hardly counts in the mean loss. The mean "
        "prediction has come to the share of the classes, so that it is not the learning rate.",
        Remedy(f"let the rare class weigh more: multiply its terms of the loss by about {factor:.2g}, or repeat its "
               "samples as often",
               f"w = st.ops.where(st.ops.greater(y, 0.5), {factor if rarer == '1' else 1:.3g}, "
               f"{1 if rarer == '1' else factor:.3g})   # a weight for each term of the loss"),
        "imbalance",
    )  # fmt: skip


def _flat_regression(trace: TrainingTrace) -> Iterator[Finding]:
    """Find predicted numbers that hardly vary."""
    if trace.setup.classifies or not trace.stuck or not trace.readings or not trace.finished:
        return
    path = _last_path(trace)
    reading = trace.readings[-1].layers.get(path)
    wanted = trace.targets.std if trace.targets is not None else 0.0
    if reading is None or wanted == 0 or reading.std >= NEARLY_CONSTANT * wanted:
        return
    yield Finding(
        "constant_predictions", Severity.ERROR, path, (), 0.8,
        {"spread of the outputs": reading.std, "of the targets": wanted},
        f"the outputs vary by {reading.std:.2g}, the targets by {wanted:.2g}",
        "The output hardly depends on the input.",
        Remedy("see the other findings"),
        "regression",
    )  # fmt: skip


def _last_path(trace: TrainingTrace) -> str:
    """Return the path of the last linear layer or convolution; "output" if there is none."""
    return trace.structure.maps[-1].path if trace.structure and trace.structure.maps else "output"


def saturates(one: Passed) -> bool:
    """Return whether ``one`` is an activation that is flat at both ends, such as sigmoid and tanh."""
    return one.activation is not None and one.activation.saturation_bounds is not None


def weakens(one: Passed) -> bool:
    """Return whether ``one`` is an activation whose derivative is always below 1, such as sigmoid (at most 1/4)."""
    return one.activation is not None and one.activation.max_derivative < 1


def can_die(one: Passed) -> bool:
    """Return whether ``one`` is an activation whose units can die, such as ReLU.

    The outputs and gradients of a dead unit stay 0.
    """
    return one.activation is not None and one.activation.units_can_die
