"""A remedy: what to change, as a sentence, as code, and as changes that can be applied.

better = finding.remedy.apply(trainer.setup)       # a new, freshly initialized setup; the given one stays as it is
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from striate.doctor.setup import Setup
from striate.errors import OptionError

SHOWN = 6
"""The number of layers or features that a message lists before "and … more"."""


class Change(ABC):
    """A change that a remedy makes to the setup of a training, such as another learning rate (abstract)."""

    @abstractmethod
    def code(self, setup: Setup) -> str:
        """Return Python code that makes the change, to show to the user."""

    def layers(self) -> tuple[str, ...]:
        """Return the paths of the layers that the change touches."""
        return ()

    def command(self, setup: Setup) -> str | None:
        """Return the options of ``striate train`` that make the change.

        The result is None if no option makes the change, and "" if the command line needs no option for the change. An
        option may change more than the layers at fault: ``--activation`` changes all activations.
        """
        return None

    @abstractmethod
    def apply(self, setup: Setup) -> Setup:
        """Return the setup with the change made; the model in it is changed in place.

        ``Remedy.apply`` copies the model before it calls this method, and initializes the model afterwards.
        """

    def to_json(self) -> dict[str, Any]:
        """Return the class name of the change and its fields as a JSON object."""
        return {"change": type(self).__name__, **asdict(self)}  # pyright: ignore[reportArgumentType]


@dataclass(frozen=True)
class LayerChange(Change):
    """A change that a remedy makes to the layers at ``paths`` (abstract)."""

    paths: tuple[str, ...]

    def layers(self) -> tuple[str, ...]:
        return self.paths


@dataclass(frozen=True)
class Remedy:
    """What to change in a training: ``text`` says it in a sentence, ``code`` in Python, and ``changes`` apply it.

    ``command`` holds the options of ``striate train`` that do the same, or "" if the command line did not start the
    training. A remedy without ``changes`` must be carried out by hand.
    """

    text: str
    code: str = ""
    command: str = ""
    changes: tuple[Change, ...] = ()

    @classmethod
    def of(cls, setup: Setup, text: str, *changes: Change) -> Remedy:
        """Return a remedy that makes these changes, with their Python code and command-line options.

        If a change concerns an operation that a ``forward`` calls directly, not a layer, the remedy has only text and
        code.
        """
        known = dict(setup.model.named_modules())
        code = "\n".join(change.code(setup) for change in changes)
        if any(path not in known for change in changes for path in change.layers()):
            return cls(text, code)
        return cls(text, code, _command(setup, changes), changes)

    def apply(self, setup: Setup) -> Setup:
        """Return a new setup with all changes made and a freshly initialized model.

        The given setup and its model are not modified. Raises ``OptionError`` for a remedy that must be carried out by
        hand, and for anything but a ``Setup``.
        """
        if not isinstance(setup, Setup):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise OptionError(f"apply needs a Setup, got {type(setup).__name__}\n  help: trainer.setup, doctor.setup")
        if not self.changes:
            raise OptionError(f"this must be done by hand: {self.text}")
        changed = replace(setup, model=copy.deepcopy(setup.model))
        for change in self.changes:
            changed = change.apply(changed)
        changed.model.initialize(changed.seed)
        return changed

    def to_json(self) -> dict[str, Any]:
        """Return text, code, command and changes as a JSON object."""
        changes = [change.to_json() for change in self.changes]
        return {"text": self.text, "code": self.code, "command": self.command, "changes": changes}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Remedy:
        """Return the remedy with text, code and command of a JSON object; its changes cannot be applied again."""
        text, code, command = (str(document.get(name, "")) for name in ("text", "code", "command"))
        return cls(text, code, command)


def _command(setup: Setup, changes: tuple[Change, ...]) -> str:
    """Return the options for all changes; "" where an option is missing or the command line was not used."""
    commands = [change.command(setup) for change in changes]
    if any(command is None for command in commands):
        return ""
    options = " ".join(command for command in commands if command)
    wanted = {word for word in options.split() if word.startswith("--")}
    return options if wanted <= set(setup.command_line) else ""


def listed(paths: tuple[str, ...]) -> str:
    """Return the first six paths as text, followed by "and … more" for the others."""
    shown = ", ".join(paths[:SHOWN])
    return shown + (f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else "")


def kinds(setup: Setup, paths: tuple[str, ...]) -> list[str]:
    """Return the sorted names of the layers at the paths.

    A layer is named as in ``nn.ReLU``, and an activation that a ``forward`` calls as in ``st.ops.relu``.
    """
    known = dict(setup.model.named_modules())
    return sorted(
        {
            f"nn.{type(known[path]).__name__}"
            if path in known
            else f"st.ops.{path.rpartition('.')[2].partition('#')[0]}"
            for path in paths
        }
    )


def named(path: str) -> str:
    """Return the Python expression for the layer at a dotted path: ``model[3]`` or ``model.stage1.conv``."""
    parts = path.split(".") if path else []
    return "model" + "".join(f"[{part}]" if part.isdigit() else f".{part}" for part in parts)
