"""Trains on all ranks until something goes wrong on rank 1: the argument says what."""

from __future__ import annotations

import os
import signal
import sys

import numpy as np
from mpi4py import MPI

from striate import Trainer, TrainingStep, nn, optim
from striate.data import load_digits
from striate.train import Callback

what = sys.argv[1]
ranks = MPI.COMM_WORLD


class Trouble(Callback):
    def after_epoch(self, trainer: Trainer, epoch: object) -> None:
        if what == "stop after epoch" and ranks.rank == 1:
            trainer.stop("rank 1 has seen enough")

    def after_batch(self, trainer: Trainer, moment: object) -> None:
        if trainer.place.batch == 3 and ranks.rank == 1:
            if what == "exception":
                raise RuntimeError("the disk of this rank is on fire")
            if what == "Ctrl-C":
                raise KeyboardInterrupt
            if what == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if what == "nan":
                next(iter(trainer.step.parameter_views().values()))[0, 0] = np.nan
            if what == "stop":
                trainer.stop("rank 1 has seen enough")
            if what == "interrupt":
                os.kill(os.getpid(), signal.SIGTERM)


lr = 0.2 if what == "options" and ranks.rank == 1 else 0.1
data = load_digits("train" if what != "data" or ranks.rank == 0 else "test")
model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).initialize(1 if what == "weights" and ranks.rank == 1 else 0)
trainer = Trainer(
    model, nn.CrossEntropyLoss(), optim.SGD(lr=lr), callbacks=[Trouble()], communicator=ranks, progress=False
)
if what == "step":  # without a trainer; the labels of rank 1 are too few
    step = TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=lr), communicator=ranks)
    step(data.images[:4], data.labels[: 4 - ranks.rank])
history = trainer.fit(data, epochs=2)
print(f"rank {ranks.rank}: {history.stopped or 'finished'}, {len(history)} epochs", flush=True)
