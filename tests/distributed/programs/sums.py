"""Starts several sums over the ranks at once, long and short ones, and checks their results."""

from __future__ import annotations

import numpy as np
from mpi4py import MPI

from striate.distributed import communicator_of

ranks = communicator_of(MPI.COMM_WORLD)
for _ in range(3):
    lengths = (0, 1, 1000, 16384, 16385, 100_003)
    arrays = [np.arange(n, dtype=kind) * (ranks.rank + 1) for n in lengths for kind in (np.float32, np.float64)]
    pending = [ranks.start_sum(array) for array in arrays]
    swapped = [ranks.gather(np.array([ranks.rank])) for _ in range(3)]  # other messages meanwhile
    assert all((rows[:, 0] == range(ranks.size)).all() for rows in swapped)
    while not pending[-1].test():
        pass
    for one in pending:
        one.wait()
        assert one.test()
    factor = ranks.size * (ranks.size + 1) // 2
    for array in arrays:
        np.testing.assert_allclose(array, np.arange(len(array), dtype=array.dtype) * factor, rtol=1e-6)
print("right", flush=True)
