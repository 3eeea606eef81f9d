"""Write numbers with their nouns."""

from __future__ import annotations


def counted(count: int, one: str, several: str = "") -> str:
    """Return a number with its noun, such as ``1 epoch`` or ``1,442 images``; ``one`` is the singular.

    ``several`` is the plural; the default is the singular with an s.
    """
    return f"{count:,} {one if count == 1 else several or one + 's'}"
