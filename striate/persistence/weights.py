"""Load weights that PyTorch saved, and save weights for PyTorch, as ``.safetensors`` or ``.pth`` files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from striate.arguments import explained
from striate.errors import ModelFileError, OptionError
from striate.graph.value import Array
from striate.nn.module import Module
from striate.nn.parameter import Role
from striate.nn.state import StateMismatch
from striate.options import path as checked_path
from striate.options import require_instance
from striate.persistence.atomic import write_atomically
from striate.persistence.container import OF_TORCH, encode, open_regular, read_header, read_tensor
from striate.persistence.torch import encode_state, read_state

PREFIXES = ("module.", "_orig_mod.")
"""The prefixes that ``DataParallel`` and ``torch.compile`` put before every name."""


@explained
def load_torch_state(
    model: Module, path: str | Path, *, strict: bool = True, entry: str | None = None
) -> StateMismatch:
    """Load weights saved by PyTorch into a model, from a file of ``torch.save`` or a ``.safetensors`` file.

        st.load_torch_state(model, "resnet18.pth")

    The names must be those of ``model.state_dict()``. A prefix ``module.`` (DataParallel) or ``_orig_mod.``
    (torch.compile) that all names share is removed. If the file is a checkpoint of several dictionaries, ``entry``
    names the one with the weights; by default it is "state_dict", "model" or another usual name. Arrays are converted
    to the model's dtype. Counters ``num_batches_tracked`` that the file lacks (PyTorch before 0.4.1) become 0. Nothing
    in the file is executed.

    Returns the names that were skipped, as ``model.load_state_dict`` does. Raises ``ModelFileError`` for a file that
    cannot be read or contains anything but tensors, numbers, strings and dictionaries; ``ShapeError`` if shapes differ
    or, with ``strict``, if names are missing or unexpected; ``OptionError`` for arguments of another type.
    """
    require_instance("model", model, Module, "nn.Sequential(…)")
    if entry is not None and not isinstance(entry, str):
        raise OptionError(f'entry={entry!r:.60}; expected the name of a dictionary in the file, such as "state_dict"')
    file = checked_path("path", path)
    state = _without_prefix(_read_any(file, entry), model)
    for name, parameter in model.named_state():
        if parameter.role is Role.COUNTER and name not in state and _siblings(name) & state.keys():
            state[name] = np.zeros((), np.int64)
    return model.load_state_dict(state, strict=strict)


def _siblings(counter: str) -> set[str]:
    """Return the names of the running statistics whose updates this counter counts."""
    layer = counter.rpartition(".")[0]
    return {f"{layer}.{name}" if layer else name for name in ("running_mean", "running_var")}


def _read_any(path: Path, entry: str | None) -> dict[str, Array]:
    with open_regular(path, "give a file that torch.save or safetensors wrote") as stream:
        start = stream.read(9)
    if start[8:] == b"{" or path.suffix == ".safetensors":
        return read_weights(path)
    return read_state(path, entry)


def read_weights(path: Path) -> dict[str, Array]:
    """Return all tensors of a safetensors file by name.

    Raises ``ModelFileError`` for a file that is missing, damaged, or of another format.
    """
    with open_regular(path) as stream:
        try:
            header = read_header(path, stream)
            return {name: read_tensor(path, stream, name, place) for name, place in header.places.items()}
        except OSError as error:
            raise ModelFileError(f"{path}: cannot be read: {error.strerror or error}") from error


def _without_prefix(state: Mapping[str, Array], model: Module) -> dict[str, Array]:
    """Remove a prefix that all names of ``state`` start with, unless a name of the model starts with it too."""
    own = [name for name, _ in model.named_state()]
    found = dict(state)
    for prefix in PREFIXES:
        if (
            found
            and all(name.startswith(prefix) for name in found)
            and not any(name.startswith(prefix) for name in own)
        ):
            found = {name.removeprefix(prefix): array for name, array in found.items()}
    return found


def save_torch_state(model: Module, path: str | Path) -> None:
    """Write ``model.state_dict()`` to a file that PyTorch reads.

    The suffix of ``path`` chooses the format: ``.safetensors`` (read by ``safetensors.torch.load_file``), or ``.pth``,
    ``.pt``, ``.bin`` and ``.ckpt`` (read by ``torch.load``). An existing file is replaced only when the new one is
    complete. Raises ``OptionError`` for another suffix, and ``ModelFileError`` if the file cannot be written.
    """
    require_instance("model", model, Module, "nn.Sequential(…)")
    file = checked_path("path", path)
    state = model.state_dict()
    if file.suffix == ".safetensors":
        write_atomically(file, encode(state, {"format": "pt"}))
    elif file.suffix in OF_TORCH:
        write_atomically(file, encode_state(state))
    else:
        raise OptionError(f"{file}: unknown suffix {file.suffix!r}\n  known: .safetensors, {', '.join(OF_TORCH)}")
