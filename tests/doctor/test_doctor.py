"""The doctor as a whole: ranking, JSON, output, hand-written loops, and that it changes nothing."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import striate as st
from striate import nn, optim
from striate.doctor import RULES, Doctor, Finding, Findings, Remedy, Severity, posthoc
from striate.doctor.ranking import ORDER, ranked
from striate.errors import ModelFileError, NonFiniteError, OptionError
from striate.train import Trainer
from striate.train.progress import Lines
from tests.doctor.trainings import clouds, mlp, normalized, setup_of, standardized, trained, with_inputs


def finding(kind: str, cause: str = "", severity: Severity = Severity.ERROR) -> Finding:
    return Finding(kind, severity, "x", (), 0.5, {"a": 1.0}, f"{kind} is seen", "why", Remedy("text", "code"), cause)


def test_causes_stand_before_their_symptoms_and_explain_them() -> None:
    found = ranked(
        [
            finding("constant_predictions", "unknown"), finding("dead_units", "learning rate"),
            finding("leakage", "exact", Severity.WARNING), finding("learning_rate_too_high"),
            finding("unstandardized_input", "uneven", Severity.WARNING),
        ]
    )  # fmt: skip
    assert [one.kind for one in found][:2] == ["unstandardized_input", "leakage"], "what explains errors is one"
    assert {one.kind: one.because for one in found} == {
        "unstandardized_input": "", "leakage": "", "learning_rate_too_high": "unstandardized_input",
        "dead_units": "unstandardized_input", "constant_predictions": "unstandardized_input",
    }  # fmt: skip
    alone = ranked([finding("dead_units", "activation"), finding("learning_rate_too_low"), finding("overfitting")])
    assert [(one.kind, one.because) for one in alone] == [
        ("dead_units", ""), ("overfitting", ""), ("learning_rate_too_low", "dead_units"),
    ]  # fmt: skip


def test_the_order_knows_every_rule_and_explanations_name_rules() -> None:
    assert {name.split(":")[0] for name in ORDER} == set(RULES)
    for rule in RULES.values():
        assert {name.split(":")[0] for name in rule.explains} <= set(RULES) - {rule.kind}
        assert all((rule.looks_for, rule.threshold, rule.source, rule.why, rule.remedy))


def test_findings_go_through_json() -> None:
    findings, _, trainer = trained(setup_of(nn.Sequential(mlp(8), nn.Softmax()), epochs=1))
    document = json.loads(json.dumps(findings.to_json(), allow_nan=False))
    again = Findings([Finding.from_json(one) for one in document])
    assert again.text() == findings.text()
    assert again[0].remedy.changes == ()
    with pytest.raises(OptionError, match="by hand"):
        again[0].remedy.apply(trainer.setup)
    for wrong in ([], {"kind": 3}, {**document[0], "severity": "grave"}):
        with pytest.raises((ModelFileError, OptionError)):
            Finding.from_json(wrong)
    assert "<b>" in findings._repr_html_()
    script = finding("<script>")._repr_html_()
    assert "<script>" not in script


def test_text_fits_a_terminal() -> None:
    text = ranked([finding("one_class"), finding("constant_predictions")]).text()
    assert max(map(len, text.splitlines())) <= 80
    assert text.splitlines()[0] == "error: one_class is seen (50 % sure)"
    assert "explains: constant_predictions is seen" in text
    assert repr(Findings()) == "the doctor found nothing wrong"


def test_long_comments_of_code_go_on_below() -> None:
    code = "nn.LeakyReLU(0.1)   # instead of nn.Sigmoid at 2, 4, 6, 8, 10, 12 and 6 more"
    one = replace(finding("vanishing_gradients"), remedy=Remedy("use leaky ReLU", code))
    for text in (one.text(), one.brief):
        assert max(map(len, text.splitlines())) <= 80
    assert "at 2, 4, 6, 8, 10, 12 and\n                               # 6 more" in one.text()
    assert code in one.brief


def test_it_changes_no_bit_and_can_be_turned_off() -> None:
    def state(doctor: bool) -> tuple[dict[str, Any], Trainer]:
        setup = setup_of(normalized(8, 8))
        assert setup.train_set is not None
        trainer = Trainer(
            setup.model, setup.loss, setup.optimizer, seed=1, batch_size=16, progress=False, doctor=doctor
        )
        trainer.fit(setup.train_set, setup.validation, epochs=2)
        return trainer.model.state_dict(), trainer

    with_it, _ = state(True)
    without, trainer = state(False)
    for name, array in without.items():
        np.testing.assert_array_equal(with_it[name], array)
    assert trainer.doctor is None
    assert len(trainer.findings) == 0
    with pytest.raises(OptionError, match="doctor=True"):
        _ = trainer.setup


def test_it_is_printed_once_while_it_trains() -> None:
    stream = io.StringIO()
    setup = setup_of(nn.Sequential(mlp(8), nn.Softmax()), epochs=3)
    assert setup.train_set is not None
    trainer = Trainer(setup.model, setup.loss, setup.optimizer, batch_size=16, progress=Lines(stream))
    trainer.fit(setup.train_set, epochs=2)
    trainer.fit(setup.train_set, epochs=1)
    text = stream.getvalue()
    assert text.count("softmax is applied twice") == 1
    lines = text.splitlines()
    assert lines.index(next(line for line in lines if "softmax" in line)) < lines.index(
        next(line for line in lines if line.startswith("epoch 1"))
    )
    assert max(map(len, lines)) <= 100


def test_a_breakdown_is_judged_before_the_error_goes_on() -> None:
    setup = setup_of(mlp(16, 16), optimizer=optim.SGD(lr=1e15))
    assert setup.train_set is not None
    trainer = Trainer(setup.model, setup.loss, setup.optimizer, batch_size=16, progress=False)
    with pytest.raises(NonFiniteError):
        trainer.fit(setup.train_set, epochs=2)
    assert trainer.findings[0].kind == "learning_rate_too_high"
    assert "broke down" in trainer.findings[0].message


def numbers(rate: float) -> tuple[Findings, float, Doctor]:
    random = np.random.default_rng(0)
    x = random.normal(0, 1, (640, 3)).astype(np.float32)
    y = (np.sin(x[:, :1]) + x[:, 1:2]).astype(np.float32)
    model = mlp(16, classes=1).initialize(2)
    step = st.TrainingStep(model, nn.MSELoss(), optim.SGD(lr=rate, momentum=0.9))
    doctor = Doctor(step)
    for _ in range(6):
        for start in range(0, len(x), 32):
            doctor(x[start : start + 32], y[start : start + 32])
        doctor.end_of_epoch()
    return doctor.finish(), float(np.square(np.asarray(model(x)) - y).mean()), doctor


def test_regression_in_a_loop_of_ones_own() -> None:
    well, loss, _ = numbers(0.02)
    assert not well, repr(well)
    ill, worse, doctor = numbers(1e-8)
    assert [one.kind for one in ill] == ["learning_rate_too_low"]
    rate = ill[0].remedy.apply(doctor.setup).optimizer.lr
    assert numbers(rate)[1] < worse
    assert loss < worse


def test_a_hand_written_loop_over_sorted_data() -> None:
    ordered = clouds(320)
    ordered = ordered.subset(np.argsort(ordered.labels, kind="stable"))
    step = st.TrainingStep(normalized(8).initialize(0), nn.CrossEntropyLoss(), optim.SGD(lr=0.05))
    doctor = Doctor(step)
    for start in range(0, 320, 32):
        doctor(ordered.images[start : start + 32], ordered.labels[start : start + 32])
    doctor.end_of_epoch()
    assert doctor.finish()[0].kind == "sorted_batches"


def test_a_rule_that_fails_does_not_end_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(chart: object) -> list[Finding]:
        raise ZeroDivisionError("a defect")

    monkeypatch.setitem(RULES, "leakage", replace(RULES["leakage"], examine=broken))
    setup = setup_of(mlp(4), epochs=1)
    assert setup.train_set is not None
    trainer = Trainer(setup.model, setup.loss, setup.optimizer, batch_size=64, progress=False)
    with pytest.warns(UserWarning, match="rule leakage failed: ZeroDivisionError"):
        trainer.fit(setup.train_set, epochs=1)
    assert trainer.history.finished


def test_posthoc_sees_data_and_history() -> None:
    train_set = with_inputs(standardized(), lambda x: 400 * x)
    model = mlp(8).initialize(0)
    validation = with_inputs(standardized(100, 1), lambda x: 400 * x)
    found = posthoc(model, train_set, validation, losses=[1.0, 0.1], validation_losses=[None, None])
    assert [one.kind for one in found if not one.because] == ["unstandardized_input"]
    good = posthoc(
        model, standardized(), standardized(100, 1), losses=[1, 0.3, 0.1, 0.01, 0.01],
        validation_losses=[0.5, 0.4, 0.7, 0.9, 1.2], validation_accuracies=[0.8, 0.8, 0.8, 0.8, 0.1],
    )  # fmt: skip
    assert [one.kind for one in good] == ["overfitting"] or not good


@pytest.mark.parametrize("bad", [None, "text", [1, 2]], ids=repr)
def test_wrong_arguments_are_refused_by_name(bad: Any) -> None:
    model, data = mlp(8), standardized()
    step = st.TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.1))
    with pytest.raises(OptionError, match=r"step=.*; expected a TrainingStep"):
        Doctor(bad)
    with pytest.raises(OptionError, match=r"model=.*; expected a Module"):
        posthoc(bad, data, data)
    with pytest.raises(OptionError, match="train_set: expected a Dataset"):
        posthoc(model, bad, data)
    if bad is not None:
        with pytest.raises(OptionError, match="train_set: expected a Dataset"):
            Doctor(step, bad)
