"""The kernels: code generators that write the native loops of each family of operations.

To keep ``import striate`` fast, most modules are imported only together with the compiler (``load``), or when an
operation first uses one as an attribute of this package.
"""

from importlib import import_module
from types import ModuleType

MODULES = (
    "adaptive", "algorithm", "convolution", "exchange", "grouped", "large_pooling", "matrix_product", "matrix_sum",
    "panels", "pooling", "resampling", "rowwise", "segment", "unpooling",
)  # fmt: skip
"""The modules that operations use directly; these import the other modules of the package."""


def load() -> None:
    """Import all kernel modules that operations use (``MODULES``), so that no later use imports one."""
    for name in MODULES:
        import_module(f"{__name__}.{name}")


def __getattr__(name: str) -> ModuleType:
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f"{__name__}.{name}")
