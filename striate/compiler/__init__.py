"""From a traced graph to a program: the stages in their order, what they decide by, and what runs at the end."""

from striate.codegen.options import CompileOptions
from striate.compiler.executable import CompiledExecutable, prepare_compiled
from striate.compiler.options import options_for
from striate.compiler.pipeline import STAGES, Compilation, compile_graph, rounded_graph

__all__ = [
    "STAGES",
    "Compilation",
    "CompileOptions",
    "CompiledExecutable",
    "compile_graph",
    "options_for",
    "prepare_compiled",
    "rounded_graph",
]
