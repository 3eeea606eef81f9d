"""Training: the trainer, callbacks, evaluation, the learning rate search, and the record of a run."""

from striate.train.balance import balanced_weights
from striate.train.callback import Callback
from striate.train.checkpoint import Checkpoint, read_checkpoint
from striate.train.checkpoints import Checkpoints
from striate.train.early_stopping import EarlyStopping
from striate.train.evaluation import ClassResult, Evaluation, evaluate
from striate.train.fine_tuning import load_matching
from striate.train.history import Epoch, History
from striate.train.rate_search import RateSearch, find_rate
from striate.train.record import Record, read_progress
from striate.train.statistics import recompute_statistics
from striate.train.trainer import Trainer
from striate.train.tta import Averaged, Views, averaged

__all__ = [
    "Averaged", "Callback", "Checkpoint", "Checkpoints", "ClassResult", "EarlyStopping", "Epoch", "Evaluation",
    "History", "RateSearch", "Record", "Trainer",
    "Views", "averaged", "balanced_weights", "evaluate", "find_rate", "load_matching", "read_checkpoint",
    "read_progress", "recompute_statistics",
]  # fmt: skip
