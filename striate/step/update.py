"""The program of the update: it writes all parameters, the optimizer's vectors and the statistics in one pass.

ok       loss + Σ g² + Σ statistics is finite, and with options that could overflow Σ new contents too
θ, v, …  their new contents if ok, else the old ones
"""

from __future__ import annotations

from striate.engine import Executable, prepare
from striate.graph.arithmetic import cast, reshape
from striate.graph.check import check
from striate.graph.graph import Graph, OutputKind, OutputRole, State
from striate.graph.value import Array, DType, TensorType, Value
from striate.ops import reduction
from striate.ops.arithmetic import sqrt
from striate.ops.comparison import IsFinite, Where, greater, where
from striate.ops.reduction import Sum
from striate.optim.optimizer import Optimizer
from striate.step.memory import StepMemory
from striate.tracing import array_type

MOVED = "moved"


def prepare_update(memory: StepMemory, optimizer: Optimizer, clock: Array, max_norm: float | None) -> Executable:
    """Compiles the update. It returns ``ok`` and ``norm``, √Σ g² of the gradients before they are scaled.

    ``clock`` () float64 counts the committed steps.
    """
    arena = memory.arena
    bindings = {"parameters": arena.flat_parameters, "gradients": memory.gradients.flat, "loss": memory.loss}
    bindings |= {name: companion.flat for name, companion in memory.optimizer.items()}
    if arena.flat_buffers.size:
        bindings |= {"buffers": arena.flat_buffers, "pending": memory.pending.flat}
    values = {name: State(name, array_type(array, name, batched=False))() for name, array in bindings.items()}
    time = State("clock", TensorType(DType.float64, ()))()
    bindings["clock"] = clock
    g = values["gradients"]
    if max_norm is None:
        squares = _total(g * g)
        norm = sqrt(squares)
    else:
        g, squares, norm = _clipped(g, max_norm)
    finite = values["loss"] + squares
    if "pending" in values:
        finite = finite + _total(values["pending"])
    states = {name: values[name] for name in memory.optimizer}
    new, new_states = optimizer.update(values["parameters"], g, states, time)
    if not optimizer.bounded:  # a huge rate or decay overflows here, before the result is written
        for value in (new, *new_states.values()):
            finite = finite + _total(value)
    ok = IsFinite()(finite)
    updates = {"parameters": Where()(ok, new, values["parameters"])}
    updates |= {name: Where()(ok, value, values[name]) for name, value in new_states.items()}
    if "buffers" in values:
        updates["buffers"] = Where()(ok, values["pending"], values["buffers"])
    updates["clock"] = time + cast(ok, DType.float64)
    outputs = {"ok": ok, "norm": norm}
    roles: dict[str, OutputRole] = {}
    results: dict[str, Array] = {}
    if memory.moved is not None:
        outputs[MOVED] = updates["parameters"] - values["parameters"]
        roles[MOVED] = OutputRole(OutputKind.WATCH, MOVED)
        results[MOVED] = memory.moved.flat
    graph = Graph({**values, "clock": time}, outputs, updates, roles=roles)
    return prepare(check(graph, "update"), bindings, results, None, arenas=(arena,))


def _clipped(g: Value, max_norm: float) -> tuple[Value, Value, Value]:
    """g · min(1, c / (‖g‖ + 10⁻⁶)) for c = ``max_norm``, Σ (g / m)² for the largest m = max |g|, and ‖g‖.

    With q = g / m no square overflows: ‖g‖ = m √Σq², and the product is q · c / (√Σq² + 10⁻⁶ / m).
    """
    largest = reduction.max(abs(g))
    m = where(greater(largest, 0.0), largest, 1.0)
    q = g / m
    squares = _total(q * q)
    root = sqrt(squares)
    share = max_norm / (root + 1e-6 / m)
    return where(greater(m, share), q * share, g), squares, m * root


def _total(vector: Value) -> Value:
    return reshape(Sum((0,))(vector), ())
