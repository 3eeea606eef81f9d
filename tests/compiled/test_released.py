"""Programs that are no longer referenced leave nothing behind: no code, memory maps or growing tables."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHAPES = """
import json
from pathlib import Path
import numpy as np
import striate as st
from striate import nn

def sizes():
    status, maps = (Path("/proc/self", name).read_text().splitlines() for name in ("status", "maps"))
    resident = next(line for line in status if line.startswith("VmRSS"))
    return {"maps": len(maps), "kB": int(resident.split()[1])}

exp = st.compile(lambda x: st.ops.exp(x))
model = nn.Sequential(nn.GlobalAveragePool(), nn.Flatten(), nn.Linear(2, 3))
found = {}
for number in range(1, 101):
    x = np.full((2, 2, 1, number), 0.5, np.float32)
    assert np.allclose(exp(x), np.exp(x), rtol=1e-6)
    model(x)
    if number in (20, 100):
        found[number] = sizes()
print(json.dumps(found))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="memory maps of Linux")
def test_a_hundred_shapes_take_as_much_memory_as_twenty(tmp_path: Path) -> None:
    environment = {**os.environ, "STRIATE_CACHE": str(tmp_path / "cache"), "STRIATE_THREADS": "1"}
    command = [sys.executable, "-c", SHAPES]
    process = subprocess.run(command, cwd=ROOT, env=environment, text=True, capture_output=True, timeout=300)
    assert process.returncode == 0, process.stderr
    sizes = json.loads(process.stdout)
    assert sizes["100"]["maps"] - sizes["20"]["maps"] <= 20
    assert sizes["100"]["kB"] - sizes["20"]["kB"] <= 4096
