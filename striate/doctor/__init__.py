"""The training doctor: rules that find what is wrong with a training, where, why, and what to change."""

from striate.doctor.doctor import Doctor
from striate.doctor.finding import Finding, Findings, Severity
from striate.doctor.posthoc import posthoc
from striate.doctor.remedy import Change, Remedy
from striate.doctor.rule import RULES, Rule, When
from striate.doctor.setup import Setup

__all__ = [
    "RULES",
    "Change",
    "Doctor",
    "Finding",
    "Findings",
    "Remedy",
    "Rule",
    "Setup",
    "Severity",
    "When",
    "posthoc",
]
