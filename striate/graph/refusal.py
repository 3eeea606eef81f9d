"""Errors for what a traced value cannot do in Python or NumPy; each says what to write instead."""

from __future__ import annotations

from striate.errors import TracingError

known_operations: set[str] = set()
"""The functions of ``st.ops``, used only for help texts; ``ops`` fills it in."""

_INSTEAD = {  # names that differ between NumPy or Python and st.ops
    "negative": "-x", "dot": "x @ y", "amax": "st.ops.max(x)",
    "ravel": "st.ops.flatten(x)", "concatenate": "st.ops.concat", "amin": "st.ops.min(x)", "view": "x.reshape(…)",
    "fabs": "st.ops.abs(x)", "size": "x.shape", "dim": "x.ndim",
}  # fmt: skip


def unsupported(value: object, name: str, spelled: str) -> TracingError:
    """The error for ``np.tanh(x)``, ``x @ w`` and the like; it names the operation to use, if there is one."""
    return TracingError(f"{spelled} does not take the traced {value!r}\n  help: {instead(name)}")


def instead(name: str) -> str:
    """What to write instead of a function of that name."""
    if name in _INSTEAD:
        return f"write {_INSTEAD[name]}"
    if name in known_operations:
        return f"write st.ops.{name}"
    return f"there is no st.ops.{name}; traced functions combine: {', '.join(sorted(known_operations))}"


def missing_attribute(value: object, name: str) -> AttributeError:
    """The error for method calls such as ``x.mean()``."""
    if name in known_operations or name in _INSTEAD:
        return AttributeError(f"{value!r} has no method {name!r}\n  help: {instead(name)}")
    return AttributeError(f"{type(value).__name__!r} object has no attribute {name!r}")
