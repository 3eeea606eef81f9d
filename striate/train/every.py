"""How often checkpoints are written: after every epoch, every N steps, or after a time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from numbers import Integral

from striate.errors import OptionError

_UNITS = {"s": 1.0, "sec": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0}
_FORM = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)")


@dataclass(frozen=True)
class Every:
    """The interval between checkpoints: ``steps`` training steps, or ``seconds``; one epoch if both are None."""

    steps: int | None = None
    seconds: float | None = None

    @classmethod
    def parse(cls, given: object) -> Every:
        """Parse ``"epoch"``, a number of steps such as 500 or ``"500"``, or a time such as ``"30s"`` or ``"2h"``.

        Raises ``OptionError`` for anything else.
        """
        if isinstance(given, Every):
            return given
        if isinstance(given, Integral) and not isinstance(given, bool) and int(given) > 0:
            return cls(steps=int(given))
        if isinstance(given, str):
            if given == "epoch":
                return cls()
            found = _FORM.fullmatch(given.strip().lower())
            if found and not found[2] and found[1].isdecimal() and int(found[1]) > 0:
                return cls(steps=int(found[1]))
            if found and found[2] in _UNITS and 0 < float(found[1]) * _UNITS[found[2]] < 1e9:
                return cls(seconds=float(found[1]) * _UNITS[found[2]])
        raise OptionError(
            f"checkpoints every {given!r}; expected epoch, a number of steps, or a time\n"
            "  help: epoch, 500, 30s, 10min or 2h"
        )

    @property
    def epochs(self) -> bool:
        """Whether a checkpoint is written after every epoch."""
        return self.steps is None and self.seconds is None
