"""Programs in two parts: the second part runs later, with inputs that are not known before, such as gradients.

    first    x, parameters → outputs, new running statistics
    second   the seeds (gradients with respect to outputs), and arrays that the first part computed → other outputs

The arrays that the second part reads stay in an arena, a block of memory. A run of the first part occupies an arena
until the second part has run. Both parts belong to one graph, so they are fused, laid out and planned together, and the
arrays that pass between them need no conversion.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from striate.codegen.launch import Launch
from striate.codegen.options import CompileOptions
from striate.compiler.executable import CompiledExecutable
from striate.graph.graph import Graph, Input, seeded
from striate.graph.value import Value
from striate.passes.fuse import Group, domain_of
from striate.runtime.program import External, Program


@dataclass(frozen=True)
class Parts:
    """The two parts of a program, with memory planned for batches of up to ``capacity`` samples.

    first     the program that computes the early outputs
    second    the program that computes the late outputs; None if there are none
    size      the bytes of the arena (block of memory) in which both parts run, one after the other
    """

    first: Program
    second: Program | None
    size: int
    capacity: int


class DividedExecutable(CompiledExecutable):
    """A compiled graph whose phases (kernel launches) are divided into two parts, of which the second runs later.

    The second part computes the outputs named in ``late_outputs``. Only the second part may read inputs of the kind
    ``Seed``: gradients with respect to outputs of the first part, which are not known when the first part runs. The
    argument ``externals`` of ``Program.run`` has the addresses of all inputs and outputs by name. In ``externals``, the
    names of outputs begin with ``out:``.
    """

    def __init__(self, graph: Graph, late_outputs: Collection[str], options: CompileOptions) -> None:
        self._late_outputs = frozenset(late_outputs)
        self._parts: Parts | None = None
        super().__init__(graph, {}, {}, options)
        self.places = {name: self._names[self.compiled.layouts.base(value)] for name, value in self.outputs.items()}
        """For each output, the output whose array contains it: itself, or another one of which it is a view."""

    @property
    def outputs(self) -> dict[str, Value]:
        """The graph's values for all outputs that have elements, by name."""
        return {name: value for name, value in self._graph.outputs.items() if name not in self._without_elements}

    def parts(self, n: int) -> Parts:
        """Return both parts, with memory planned for batches of at least ``n`` samples."""
        found = self._parts
        if found is not None and n <= found.capacity:
            return found
        with self._lock:
            whole = self.reserve(n)
            first, second = (
                Program(
                    phases, self._driver, scratch=whole.scratch, thread_scratch=whole.thread_scratch, keep=whole.keep
                )
                for phases in (whole.phases[: self._cut], whole.phases[self._cut :])
            )
            self._parts = Parts(first, second if second.phases else None, whole.scratch, max(1, self._capacity))
            return self._parts

    def may_share(self, name: str, output: str) -> bool:
        """Return whether the output named ``output`` may overwrite the memory of the input ``name``.

        This is safe if both have the same shape and memory layout, only the loop that computes the output reads the
        input, and this loop reads each element of the input before it writes the element of the output there.
        """
        values = {node.op.name: node.outputs[0] for node in self._graph.sources() if isinstance(node.op, Input)}
        value, plan = self._graph.outputs[output], self.compiled.plan
        if name not in values or self.places[output] != output or value.type.shape != values[name].type.shape:
            return False
        aliases = {values[name]} | {v for v, base in self.compiled.layouts.alias.items() if base is values[name]}
        owner = plan.groups[plan.in_memory[value]]
        readers = [group for group in plan.groups if group.reads & aliases or _anchor_reads(group, aliases)]
        alone = all(group is owner for group in readers) and owner.anchor is None
        return (
            alone
            and not owner.reads & (aliases - {values[name]})
            and owner.domain == domain_of(self.compiled.layouts, values[name])
        )

    def _split(self, constant_inputs: frozenset[str]) -> tuple[list[Launch], list[Launch]]:
        prepared, others = super()._split(constant_inputs)
        plan, lowered = self.compiled.plan, self.compiled.lowered
        outputs = self._graph.outputs
        early = {value for name, value in outputs.items() if name not in self._late_outputs}
        late_values = {value for node in seeded(self._graph) for value in node.outputs} | (
            set(outputs.values()) - early
        )
        late = {group.index for group in plan.groups if _computed(group) & late_values}
        groups = {id(phase): lowered.group_of[index] for index, phase in enumerate(lowered.phases)}
        first_late = min(late, default=len(plan.groups))
        if any(plan.in_memory.get(value, -1) >= first_late for value in early):
            in_second = late  # an early output is computed among late work: all early work moves to the first part
        else:
            in_second = set(range(first_late, len(plan.groups)))
        first = [phase for phase in others if groups[id(phase)] not in in_second]
        second = [phase for phase in others if groups[id(phase)] in in_second]
        self._cut = len(first)
        return prepared, [*first, *second]


def _anchor_reads(group: Group, values: set[Value]) -> bool:
    return group.anchor is not None and bool(set(group.anchor.inputs) & values)


def _computed(group: Group) -> set[Value]:
    """Return the values that a loop computes and another one may need."""
    reductions = {value for node in (*group.reductions, *group.finishes) for value in node.outputs}
    return {*group.stores, *reductions, *(group.anchor.outputs if group.anchor else ())}


def externals_of(program: Program) -> tuple[list[str], list[str]]:
    """Return the names of the inputs and of the outputs whose addresses a run of ``program`` needs.

    The result is (inputs, outputs); the names of outputs are without the prefix "out:".
    """
    names = sorted({o.name for phase in program.phases for o in phase.operands if isinstance(o, External)})
    outputs = [name.removeprefix("out:") for name in names if name.startswith("out:")]
    return [name for name in names if not name.startswith("out:")], outputs
