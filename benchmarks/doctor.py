"""Test the doctor on healthy trainings and on trainings with planted faults.

On healthy trainings it must report nothing. On a fault, its first finding must be the right one, and training again
with its remedy, applied as printed, must improve the metric.

    python benchmarks/doctor.py                 # the judged part: MNIST, CIFAR-10, signals, tables
    python benchmarks/doctor.py --part dev      # what the rules were developed on: the digits and a few networks
    python benchmarks/doctor.py --part wild     # cases from public reports, each with a healthy control
    python benchmarks/doctor.py --part table    # faults that an earlier version missed, each with a control
    python benchmarks/doctor.py --part healthy  # all healthy trainings of the other parts
    python benchmarks/doctor.py --only leak     # rows whose name contains a word
    python benchmarks/doctor.py --markdown docs/doctor.md

It needs ``STRIATE_DATA`` with ``mnist/`` and ``cifar10.zip``. The exit code is 1 if a requirement is missed: a warning
in a healthy training, or fewer than 90 % of the faults recognized or cured.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from doctor_case import Case, Own
from doctor_cases import faults, healthy
from doctor_development import dev_faults, dev_healthy
from doctor_table import table
from doctor_wild import chosen, held_back, wild
from doctor_wild_case import Wild

import striate as st
from striate.doctor import Doctor, Findings, Setup
from striate.errors import LabelError, NonFiniteError, OptionError, ShapeError
from striate.train.evaluation import evaluate

Array = np.ndarray[Any, Any]


def run(case: Case, setup: Setup) -> tuple[Findings, float, Setup]:
    """Train, and return the findings, the metric (higher is better), and the setup that remedies change."""
    if case.own is not None:
        return own_loop(case.own, setup)
    assert setup.train_set is not None
    trainer = st.Trainer(
        setup.model, setup.loss, setup.optimizer, seed=setup.seed, batch_size=setup.batch_size, shuffle=setup.shuffle,
        progress=False, recompute_statistics=setup.recompute_statistics,
    )  # fmt: skip
    with contextlib.suppress(NonFiniteError, LabelError):  # both are raised after the doctor has reported
        trainer.fit(setup.train_set, setup.validation, epochs=setup.epochs)
    try:
        return trainer.findings, judged(case, setup), trainer.setup
    except ShapeError:  # fewer outputs than classes: there is no prediction
        return trainer.findings, 0.0, trainer.setup


def judged(case: Case, setup: Setup) -> float:
    """Return the metric on data that were not used for training."""
    held_out = case.truth or setup.validation
    assert held_out is not None
    found = evaluate(setup.model, held_out)
    if case.metric == "loss":
        return -found.loss
    if case.metric == "balanced":
        rates = [one.accuracy for one in found.classes if one.accuracy is not None]
        return float(np.mean(rates))
    if case.metric == "honesty":  # how far validation is from the truth
        assert setup.validation is not None
        return -abs(evaluate(setup.model, setup.validation).accuracy - found.accuracy)
    return found.accuracy


def own_loop(own: Own, setup: Setup) -> tuple[Findings, float, Setup]:
    """Train with a hand-written loop around ``TrainingStep`` instead of ``Trainer``."""
    step = st.TrainingStep(setup.model, setup.loss, setup.optimizer, seed=setup.seed)
    doctor = Doctor(step)
    random = np.random.default_rng(setup.seed)
    try:
        for _ in range(setup.epochs):
            order = random.permutation(len(own.x))
            for start in range(0, len(own.x) - 31, 32):
                part = order[start : start + 32]
                doctor(own.x[part], own.y[part])
            doctor.end_of_epoch()
    except NonFiniteError as error:
        doctor.broke_down(error)
    found = doctor.finish()
    outputs = np.asarray(setup.model(own.held_x), np.float64)
    if own.score == "loss":
        return found, -float(np.square(outputs - own.held_y).mean() / own.held_y.var()), doctor.setup
    right = (outputs > own.threshold) == (own.held_y > 0.5)
    rates = [float(right[own.held_y == label].mean()) for label in (0, 1)]
    return found, float(np.mean(rates)) if own.score == "balanced" else float(right.mean()), doctor.setup


# Judgement


@dataclass(frozen=True)
class Verdict:
    """One row of the table: findings, and the metric before and after the remedy (None without one)."""

    case: Case
    findings: Findings
    before: float
    after: float | None
    applied: str
    seconds: float

    @property
    def first(self) -> str:
        """Kind and cause of the first finding, or a dash if there is none."""
        if not self.findings:
            return "–"
        finding = self.findings[0]
        return f"{finding.kind}:{finding.cause}" if finding.cause else finding.kind

    @property
    def right(self) -> bool:
        """Whether the first finding is the planted fault; in a healthy training, whether there is no finding."""
        if not self.findings:
            return not self.case.expected
        return bool({self.first, self.findings[0].kind} & set(self.case.expected))

    @property
    def cured(self) -> bool:
        """Whether the remedy improved an accuracy by a point, or another metric by 2 %."""
        if self.after is None:
            return False
        if self.case.metric in ("accuracy", "balanced"):
            return self.after >= self.before + 0.01
        return -self.after <= -self.before * 0.98

    def row(self) -> tuple[str, ...]:
        """Return the cells of the table row as text."""

        def number(value: float | None) -> str:
            if value is None:
                return "–"
            if self.case.metric in ("accuracy", "balanced"):
                return f"{100 * value:.1f} %"
            return f"{-value:.3f}" if abs(value) < 1e4 else f"{-value:.0e}"

        change = f"{number(self.before)} → {number(self.after)}" if self.case.expected else number(self.before)
        verdict = "yes" if self.right else "NO"
        cure = "" if not self.case.expected else ("yes" if self.cured else "NO")
        return (
            self.case.name, self.case.network, self.case.data_name, self.first, verdict, self.case.metric, change, cure,
            self.applied,
        )  # fmt: skip


def judge(case: Case) -> Verdict:
    """Train with the fault, apply the remedy of the first finding, and train again."""
    start = time.perf_counter()
    findings, before, setup = run(case, case.setup.anew())
    after, applied = None, ""
    if case.expected and findings:
        finding = findings[0]
        try:
            cured = finding.remedy.apply(replace(setup, epochs=case.setup.epochs))
            applied = "as printed"
        except OptionError:
            right = bool({finding.kind, f"{finding.kind}:{finding.cause}"} & set(case.expected))
            cured = case.by_hand(setup) if case.by_hand is not None and right else None
            applied = "by hand" if cured is not None else "none"
            case = replace(case, own=case.cured_own or case.own)
        if cured is not None:
            _, after, _ = run(case, cured)
    return Verdict(case, findings, before, after, applied, time.perf_counter() - start)


BINS = (0.0, 0.6, 0.75, 0.88, 0.94, 1.01)


def calibration(verdicts: list[Verdict]) -> list[str]:
    """Return table lines: how sure the doctor was of its findings, and the fraction that were the planted fault.

    Findings that another finding explains are left out.
    """
    found = [
        (one.sureness, bool({one.kind, f"{one.kind}:{one.cause}"} & set(verdict.case.expected)))
        for verdict in verdicts
        for one in verdict.findings
        if not one.because
    ]
    lines = ["| sure | findings | mean sureness | right |", "|---|---|---|---|"]
    for low, high in pairwise(BINS):
        inside = [(sure, right) for sure, right in found if low <= sure < high]
        if inside:
            mean = float(np.mean([sure for sure, _ in inside]))
            count = f"{sum(right for _, right in inside)} of {len(inside)}"
            name = f"{100 * low:.0f} to {min(100, 100 * high):.0f} %"
            lines.append(f"| {name} | {len(inside)} | {100 * mean:.0f} % | {count} |")
    return lines


HEAD = ("fault", "network", "data", "first finding", "right", "metric", "before → after", "better", "remedy applied")


def main() -> int:
    """Run the chosen part, print the tables, and return 1 if a requirement is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("judged", "dev", "wild", "table", "healthy"), default="judged")
    parser.add_argument("--half", choices=("all", "open", "held"), default="all", help="of the wild set")
    parser.add_argument("--only", default="")
    parser.add_argument("--seed", type=int, help="another start and order in every training")
    parser.add_argument("--faults-only", action="store_true")
    parser.add_argument("--healthy-only", action="store_true")
    parser.add_argument("--verbose", action="store_true", help="print findings in full")
    parser.add_argument("--markdown", type=Path, help="write the tables into this page")
    options = parser.parse_args()
    if options.part in ("wild", "table"):
        return judge_wild(options)
    if options.part == "healthy":
        return judge_healthy(options)
    well, ill = (dev_healthy, dev_faults) if options.part == "dev" else (healthy, faults)
    silent = [] if options.faults_only else _judged(well(), options)
    planted = [] if options.healthy_only else _judged(ill(), options)
    warned = sum(bool(one.findings) for one in silent)
    right, treated, cured = counts(planted)
    print(f"\nhealthy trainings: {len(silent)}, with warnings: {warned}")
    print("\n".join(calibration([*silent, *planted])))
    print(
        f"planted faults: {len(planted)}, right finding first: {right}, better after its remedy: {cured} of {treated}"
    )
    if options.markdown:
        write_markdown(options.markdown, silent, planted)
    return int(warned > 0 or right < 0.9 * len(planted) or cured < 0.9 * treated)


def counts(verdicts: Sequence[Verdict]) -> tuple[int, int, int]:
    """Return how many first findings are right, how many of these have a remedy, and how many remedies helped."""
    right = [one for one in verdicts if one.right]
    treated = [one for one in right if one.after is not None]
    return len(right), len(treated), sum(one.cured for one in treated)


def _judged(cases: Iterator[Case], options: argparse.Namespace) -> list[Verdict]:
    verdicts: list[Verdict] = []
    for case in cases:
        if options.only and options.only not in f"{case.name} {case.network} {case.data_name} {case.expected}":
            continue
        if options.seed is not None:
            case = replace(case, setup=replace(case.setup, seed=options.seed))
        verdict = judge(case)
        verdicts.append(verdict)
        print(" | ".join(verdict.row()), f"| {verdict.seconds:.1f} s", flush=True)
        if options.verbose or not verdict.right:
            print("    " + verdict.findings.text(110).replace("\n", "\n    "), flush=True)
    return verdicts


def judge_wild(options: argparse.Namespace) -> int:
    """Judge the cases of the part "wild" or "table" and their controls; returns 1 if a requirement is missed."""
    found: list[tuple[Wild, Verdict, Verdict]] = []
    for one in chosen(options.half)() if options.part == "wild" else table():
        if options.only and options.only not in f"{one.case.name} {one.case.network} {one.case.expected}":
            continue
        verdict, control = judge(one.case), judge(one.control)
        found.append((one, verdict, control))
        print(" | ".join(verdict.row()), f"| {verdict.seconds + control.seconds:.1f} s", flush=True)
        if options.verbose or not verdict.right:
            print("    " + verdict.findings.text(110).replace("\n", "\n    "), flush=True)
        if control.findings:
            print("    CONTROL: " + control.findings.text(110).replace("\n", "\n    "), flush=True)
    verdicts = [verdict for _, verdict, _ in found]
    right, treated, cured = counts(verdicts)
    warned = sum(bool(control.findings) for _, _, control in found)
    print(f"\ncases: {len(found)}, right finding first: {right}, better after its remedy: {cured} of {treated}")
    print(f"controls: {len(found)}, with warnings: {warned}")
    both = [one for _, *pair in found for one in pair]
    print("\n".join(calibration(both)))
    if options.markdown and options.part == "wild":
        lines = ["| case | report | first finding | metric | before → after | better |", "|---|---|---|---|---|---|"]
        for one, verdict, _ in found:
            row = verdict.row()
            held = " (held back)" if one.case.name in held_back([case.case.name for case in wild()]) else ""
            lines.append(f"| {row[0]}{held} | [report]({one.source}) | {row[3]} | {row[5]} | {row[6]} | {row[7]} |")
        summary = (
            f"Right finding first: {right} of {len(found)}. Better after its remedy: {cured} of {treated}. "
            f"Warnings in {warned} of {len(found)} controls."
        )
        lines += ["", summary, "", *calibration(both)]
        replace_between(options.markdown, "wild", lines)
    return int(warned > 1 or right < 0.9 * len(found) or cured < 0.9 * treated)


def judge_healthy(options: argparse.Namespace) -> int:
    """Judge all healthy trainings of all parts; returns 1 for more than one warning."""
    controls = (one.control for one in (*wild(), *table()))
    silent = _judged(iter([*healthy(), *dev_healthy(), *controls]), options)
    warned = [one for one in silent if one.findings]
    print(f"\nhealthy trainings: {len(silent)}, with warnings: {len(warned)}")
    return int(len(warned) > 1)


def write_markdown(page: Path, silent: list[Verdict], planted: list[Verdict]) -> None:
    """Write the tables between the marks ``<!-- judged … -->`` of a page."""
    lines = ["| healthy training | network | data | findings | metric |", "|---|---|---|---|---|"]
    lines += [
        f"| {v.row()[0]} | {v.row()[1]} | {v.row()[2]} | {len(v.findings) or 'none'} | {v.row()[6]} |" for v in silent
    ]
    lines += ["", "| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
    lines += ["| " + " | ".join(verdict.row()) + " |" for verdict in planted]
    right, treated, cured = counts(planted)
    warned = sum(bool(verdict.findings) for verdict in silent)
    summary = (
        f"Right finding first: {right} of {len(planted)}. Better after its remedy: {cured} of {treated}. "
        f"Warnings in {warned} of {len(silent)} healthy trainings."
    )
    lines += ["", summary]
    replace_between(page, "judged", lines)


def replace_between(page: Path, name: str, lines: list[str]) -> None:
    """Replace the lines between the begin and end marks ``name`` of a page."""
    text = page.read_text(encoding="utf-8")
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    head, rest = text.split(begin)
    tail = rest.split(end)[1]
    page.write_text(f"{head}{begin}\n" + "\n".join(lines) + f"\n{end}{tail}", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
