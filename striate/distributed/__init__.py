"""Training on several processes, called *ranks*, which may run on several machines.

Every rank has the whole model and computes a part of each batch. Communicators (``communicator.py``, ``mpi.py``) send
numbers between the ranks. ``pieces.py`` says which samples of a batch belong to which rank, and in which order sums
over the ranks are added.
"""

from striate.distributed.communicator import Alone, Communicator, Pending
from striate.distributed.failure import AGREED, Interrupted, failing_together
from striate.distributed.mpi import communicator_of, launched_communicator
from striate.distributed.pieces import Reduce, piece_bounds, piece_count, reduce_of
from striate.distributed.threads import share_threads

__all__ = [
    "AGREED", "Alone", "Communicator", "Interrupted", "Pending", "Reduce", "communicator_of", "failing_together",
    "launched_communicator", "piece_bounds", "piece_count", "reduce_of", "share_threads",
]  # fmt: skip
