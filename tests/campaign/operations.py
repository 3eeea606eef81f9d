"""Compare the first sample of every operation, forward and backward, with its reference: the quickest check of kernels.

    python tests/campaign/operations.py

``processors.py`` runs it under emulation, where collecting tests takes longer than the comparisons.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from striate import settings
from striate.codegen import target
from striate.graph.value import DType
from tests.campaign import cross_compiler  # noqa: F401 - it replaces the compiler, if asked to
from tests.compiled.cases import OPERATIONS, assert_close, backward, forward, some_samples


def main() -> None:
    settings.override(engine=settings.Engine.COMPILED)
    start, count = time.monotonic(), 0
    for name in OPERATIONS:
        sample = some_samples(name, 1)[0]
        for problem in (forward(sample, DType.float32), backward(sample, DType.float32)):
            if problem is not None:
                assert_close(problem.run(), problem.expected(), problem.label)
                count += 1
    here = target.current()
    seconds = time.monotonic() - start
    print(f"{count} comparisons of {len(OPERATIONS)} operations on {here.cpu} ({here.triple}): equal, {seconds:.0f} s")


if __name__ == "__main__":
    main()
