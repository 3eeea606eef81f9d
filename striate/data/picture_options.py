"""Options for reading picture files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from striate.arguments import Explained
from striate.data.decoding import OnError
from striate.data.reading import Reading, Resize, size_of
from striate.errors import OptionError
from striate.options import choice, from_entries, number, whole_number
from striate.options import seed as checked_seed


@dataclass(frozen=True)
class PictureOptions(metaclass=Explained):
    """Options for reading pictures, and for splitting them into a training part and a held-out part.

    size      (height, width) in pixels, or one number for both; None: the size of the pictures, which must be equal
    resize    how pictures of other proportions are resized: stretch, crop or pad
    channels  1 grey, 3 RGB; None: grey if no picture is coloured
    most      the value that becomes 255 in 16-bit grey pictures; None: the smallest of 255, 1023, 4095, 16383 and 65535
              that no pixel exceeds
    label_column
              name of the column with the labels, for a table of files and labels; None: "label", "class" or the like,
              or the only column that is left
    held_out  the share of every class that is held out, between 0 and 1, if the data have no parts
    seed      determines which samples are held out
    on_error  what to do with files that cannot be read: raise or skip

    ``resize`` and ``on_error`` may also be given by name, such as "crop". Raises ``OptionError`` for invalid values.
    """

    size: tuple[int, int] | None = None
    resize: Resize = Resize.stretch
    channels: int | None = None
    most: int | None = None
    label_column: str | None = None
    held_out: float = 0.2
    seed: int = 0
    on_error: OnError = OnError.refuse

    def __post_init__(self) -> None:
        # A size may also be one number or text, and the two choices may be names.
        if self.size is not None:
            object.__setattr__(self, "size", size_of(self.size))
        if not isinstance(self.resize, Resize):
            object.__setattr__(self, "resize", Resize[choice("resize", self.resize, Resize.__members__)])
        object.__setattr__(self, "on_error", OnError.parse(self.on_error))
        if self.channels not in (None, 1, 3):
            raise OptionError(f"channels={self.channels!r}; expected 1 (grey) or 3 (red, green, blue)")
        if self.most is not None:
            whole_number("most", self.most, 1, 65535)
        if self.label_column is not None and not isinstance(self.label_column, str):
            raise OptionError(f"label_column={self.label_column!r}; pictures have one label, in one column")
        number("held_out", self.held_out, above=0, below=1)
        checked_seed(self.seed)

    def to_json(self) -> dict[str, Any]:
        """Return the options as a dictionary of plain values, for ``run.json``."""
        document = asdict(self) | {"resize": self.resize.value, "on_error": self.on_error.value}
        return document | {"size": list(self.size) if self.size else None}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> PictureOptions:
        """Return the options in a dictionary from ``to_json``; missing ones have their defaults.

        Raises ``OptionError`` for unknown options and values.
        """
        return from_entries(cls, document, cls().to_json(), "pictures")

    @property
    def reading(self) -> Reading | None:
        """The ``Reading`` that converts one picture; None while size, channels or ``most`` is not yet determined."""
        if self.size is None or self.channels is None or self.most is None:
            return None
        return Reading(self.channels, self.size, self.resize, self.most)
