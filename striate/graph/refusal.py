"""Errors for uses of a traced value that only Python or NumPy support, with the code to write instead."""

from __future__ import annotations

from striate.errors import TracingError

known_operations: set[str] = set()
"""The names of the functions of ``st.ops``, for help texts; the package ``ops`` fills the set."""

_INSTEAD = {  # names that differ between NumPy or Python and st.ops
    "negative": "-x", "dot": "x @ y", "amax": "st.ops.max(x)",
    "ravel": "st.ops.flatten(x)", "concatenate": "st.ops.concat", "amin": "st.ops.min(x)", "view": "x.reshape(…)",
    "fabs": "st.ops.abs(x)", "size": "x.shape", "dim": "x.ndim",
}  # fmt: skip


def unsupported(value: object, name: str, spelled: str) -> TracingError:
    """Return the error for a NumPy function that a traced value does not support, such as ``np.tanh(x)``.

    The message names the function of ``st.ops`` to use, if there is one. ``value`` is the traced value, ``name`` the
    name of the NumPy function, and ``spelled`` the call as the user wrote it.
    """
    return TracingError(f"{spelled} does not take the traced {value!r}\n  help: {instead(name)}")


def instead(name: str) -> str:
    """Return the help text that says what to write instead of the NumPy function or method ``name``."""
    if name in _INSTEAD:
        return f"write {_INSTEAD[name]}"
    if name in known_operations:
        return f"write st.ops.{name}"
    return f"there is no st.ops.{name}; traced functions combine: {', '.join(sorted(known_operations))}"


def missing_attribute(value: object, name: str) -> AttributeError:
    """Return the error for the attribute ``name`` that the traced ``value`` does not have, such as ``x.tanh``."""
    if name in known_operations or name in _INSTEAD:
        return AttributeError(f"{value!r} has no method {name!r}\n  help: {instead(name)}")
    return AttributeError(f"{type(value).__name__!r} object has no attribute {name!r}")
