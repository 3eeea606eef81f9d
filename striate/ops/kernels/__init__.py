"""How families of operations become loops.

The modules are opened together with the compiler (``load``), or when an operation first asks for one: ``import
striate`` does not wait for them.
"""

from importlib import import_module
from types import ModuleType

MODULES = (
    "adaptive", "algorithm", "convolution", "grouped", "large_pooling", "matrix", "pooling", "resampling", "rowwise",
    "segment",
)  # fmt: skip
"""The modules that operations use; they import the others."""


def load() -> None:
    """Opens all of them."""
    for name in MODULES:
        import_module(f"{__name__}.{name}")


def __getattr__(name: str) -> ModuleType:
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f"{__name__}.{name}")
