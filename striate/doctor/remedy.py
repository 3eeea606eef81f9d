"""What to change, as a sentence, as code, and as changes that can be applied. The tests apply the printed remedy.

better = finding.remedy.apply(trainer.setup)       # a new setup, from a fresh start; nothing else is touched
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
"""The number of layers or features that are listed."""


class Change(ABC):
    """One change to a training (abstract)."""

    @abstractmethod
    def code(self, setup: Setup) -> str:
        """The Python code that makes the change."""

    def layers(self) -> tuple[str, ...]:
        """The paths of the layers that it changes."""
        return ()

    def command(self, setup: Setup) -> str | None:
        """The options of ``striate train`` that make the change; None where there are none, "" where none is needed.

        An option may change more than the layers that are at fault: ``--activation`` changes all of them.
        """
        return None

    @abstractmethod
    def apply(self, setup: Setup) -> Setup:
        """The setup with the change made. ``Remedy.apply`` copies the model before and initializes it afterwards."""

    def to_json(self) -> dict[str, Any]:
        """The name of the change and its numbers."""
        return {"change": type(self).__name__, **asdict(self)}  # pyright: ignore[reportArgumentType]


@dataclass(frozen=True)
class LayerChange(Change):
    """A change to the layers at ``paths`` (abstract)."""

    paths: tuple[str, ...]

    def layers(self) -> tuple[str, ...]:
        return self.paths


@dataclass(frozen=True)
class Remedy:
    """``text`` says what to do, ``code`` how, and ``changes`` do it. A remedy without changes must be done by hand.

    ``command`` holds the options of ``striate train`` that do the same, for a training that the command line started.
    """

    text: str
    code: str = ""
    command: str = ""
    changes: tuple[Change, ...] = ()

    @classmethod
    def of(cls, setup: Setup, text: str, *changes: Change) -> Remedy:
        """A remedy with the code of the changes. Changes to operations that a ``forward`` calls cannot be applied."""
        known = dict(setup.model.named_modules())
        code = "\n".join(change.code(setup) for change in changes)
        if any(path not in known for change in changes for path in change.layers()):
            return cls(text, code)
        return cls(text, code, _command(setup, changes), changes)

    def apply(self, setup: Setup) -> Setup:
        """The setup with all changes made, from a fresh start; the given one is left as it is.

        Raises ``OptionError`` for a remedy that must be done by hand, and for anything but a ``Setup``.
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
        """Plain strings, numbers and lists."""
        changes = [change.to_json() for change in self.changes]
        return {"text": self.text, "code": self.code, "command": self.command, "changes": changes}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Remedy:
        """Text, code and command; the changes cannot be applied again."""
        text, code, command = (str(document.get(name, "")) for name in ("text", "code", "command"))
        return cls(text, code, command)


def _command(setup: Setup, changes: tuple[Change, ...]) -> str:
    """The options for all of the changes; "" unless the command line started the training and has all of them."""
    commands = [change.command(setup) for change in changes]
    if any(command is None for command in commands):
        return ""
    options = " ".join(command for command in commands if command)
    wanted = {word for word in options.split() if word.startswith("--")}
    return options if wanted <= set(setup.command_line) else ""


def listed(paths: tuple[str, ...]) -> str:
    """The first few of some paths."""
    shown = ", ".join(paths[:SHOWN])
    return shown + (f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else "")


def kinds(setup: Setup, paths: tuple[str, ...]) -> list[str]:
    """The names of the layers at the paths: ``nn.ReLU``, or ``st.ops.relu`` where a forward calls it itself."""
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
    """The Python expression for a layer: ``model[3]`` or ``model.stage1.conv``."""
    parts = path.split(".") if path else []
    return "model" + "".join(f"[{part}]" if part.isdigit() else f".{part}" for part in parts)
