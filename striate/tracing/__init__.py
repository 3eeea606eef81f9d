"""Tracing: turns Python functions into graphs of operations, and graphs into compiled functions of arrays.

A function is called once with symbolic values in place of arrays, and the operations on them are recorded.
"""

from striate.tracing.function import CompiledFunction, compile, value_and_grad
from striate.tracing.operations import Operations
from striate.tracing.program import FunctionCache, TracedFunction
from striate.tracing.trace import (
    KEY,
    LayerCall,
    Trace,
    TracedArray,
    TracedModule,
    active_trace,
    array_type,
    current_trace,
)
from striate.tracing.tree import (
    Tree,
    contains_value,
    flatten_tree,
    nested_tree,
    output_values,
    rebuild_tree,
    tree_structure,
)

__all__ = [
    "compile", "value_and_grad", "CompiledFunction", "Operations",
    "Trace", "TracedArray", "TracedModule", "LayerCall", "current_trace", "active_trace", "array_type", "KEY",
    "TracedFunction", "FunctionCache", "contains_value", "output_values",
    "Tree", "flatten_tree", "nested_tree", "rebuild_tree", "tree_structure",
]  # fmt: skip
