"""JSON for the page: ASCII, so that names with unpaired surrogates, which UTF-8 cannot encode, do not break an answer.

Such names come from files of names that are not UTF-8, and from models and requests whose JSON contains ``"\\ud800"``.
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
