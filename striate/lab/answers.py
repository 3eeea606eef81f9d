"""JSON for the page, written in ASCII.

Names may contain unpaired surrogates, which UTF-8 cannot encode; in ASCII, JSON writes them as escapes. Such names come
from the file system, if a name is not UTF-8, and from models and requests whose JSON contains ``"\\ud800"``.
"""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import JSONResponse


def json_text(document: Any) -> str:
    """Return a document as JSON in ASCII; raises ``ValueError`` for NaN and infinity."""
    return json.dumps(document, allow_nan=False, separators=(",", ":"))


class Json(JSONResponse):
    """A response whose body is JSON in ASCII."""

    def render(self, content: Any) -> bytes:
        return json_text(content).encode("ascii")
