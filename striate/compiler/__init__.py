"""The compiler: turns a traced graph into an executable program, by an ordered list of stages."""

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
