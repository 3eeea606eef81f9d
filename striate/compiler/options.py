"""Creates the options of a compilation from the settings."""

from __future__ import annotations

from collections.abc import Iterable

from striate import settings
from striate.codegen import target
from striate.codegen.options import CompileOptions
from striate.dtypes import Precision


def options_for(
    precision: Precision = Precision.full,
    capacity: int = 0,
    single_sample: bool = False,
    constant_inputs: Iterable[str] = (),
) -> CompileOptions:
    """Return compile options with the target processor and the choice of algorithms from the settings.

    The arguments are the fields of ``CompileOptions``. Raises ``EngineError`` for a precision for which the target has
    no instructions.
    """
    chosen = target.current()
    if precision is Precision.bfloat16:
        target.require_bfloat16(chosen)
    return CompileOptions(
        chosen,
        settings.current().winograd,
        precision,
        capacity,
        single_sample,
        constant_inputs=frozenset(constant_inputs),
    )
