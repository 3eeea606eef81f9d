"""Training: epochs over a data set, evaluation, and the folder that a run leaves."""

from striate.train.evaluation import ClassResult, Evaluation, evaluate
from striate.train.history import Epoch, History
from striate.train.record import Record, read_progress
from striate.train.trainer import Trainer

__all__ = ["ClassResult", "Epoch", "Evaluation", "History", "Record", "Trainer", "evaluate", "read_progress"]
