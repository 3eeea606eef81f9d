"""Makes some training steps on all ranks, and writes losses and weights of rank 0: JSON options, then the file.

With the option ``nudge``, each weight is first multiplied by 1 + nudge · z, where z is a standard normal number.
"""

from __future__ import annotations

import json
import sys

import numpy as np
from mpi4py import MPI

from striate import TrainingStep, models, nn, optim

options = json.loads(sys.argv[1])
ranks = MPI.COMM_WORLD
if options["network"] == "tiny":
    parts = nn.Conv2d(1, 4, 3, stride=4), nn.BatchNorm2d(4), nn.LeakyReLU(0.1), nn.Flatten(), nn.Linear(196, 10)
    model = nn.Sequential(*parts).initialize(0)
else:
    model = models.build(options["network"], seed=0)
shape = (1, 28, 28) if options["network"] in ("tiny", "lenet5") else (3, 32, 32)
model.infer(shape)
if options.get("wide"):
    model = model.double()
if nudge := options.get("nudge"):
    noise = np.random.default_rng(1)
    weights = {name: one * (1 + nudge * noise.standard_normal(one.shape)) for name, one in model.named_parameters()}
    model.load_state_dict(weights, strict=False)
alone = options["reduce"] == "none"
sharing = {} if alone else {"communicator": ranks, "reduce": options["reduce"], "sync_batch_norm": options["sync"]}
step = TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=options["lr"], momentum=0.9), **sharing)
random = np.random.default_rng(0)
losses: list[float] = []
for place in range(options["steps"]):
    n = options["batch"] - place % 3  # uneven parts, and short batches
    x, y = random.standard_normal((n, *shape)), random.integers(0, 10, n)
    first, last = (0, n) if alone else (ranks.rank * n // ranks.size, (ranks.rank + 1) * n // ranks.size)
    losses.append(step(x[first:last].astype(np.float64 if options.get("wide") else np.float32), y[first:last]))
states = ranks.gather({name: np.array(array) for name, array in model.state_dict().items()})
if states is not None:
    for state in states[1:]:
        assert all(np.array_equal(state[name], states[0][name]) for name in state), "the ranks differ"
    np.savez(sys.argv[2], losses=np.array(losses), **states[0])
