"""Limits on input: its size is checked before it is read, and its form before it is used."""

from __future__ import annotations

import json
from typing import Any, cast

from starlette.exceptions import HTTPException
from starlette.requests import Request

JSON_BYTES = 16_000
PICTURE_BYTES = 8_000_000
PICTURE_PIXELS = 16_000_000
MESSAGE_BYTES = 16_000
"""The largest message on a WebSocket; the server refuses larger ones before they are here."""


async def body_of(request: Request, most: int) -> bytes:
    """The body, if it is no longer than ``most`` bytes: by its declared and by its actual length.

    Raises 413 otherwise, before anything is read or as soon as it is too much.
    """
    declared = request.headers.get("content-length", "0")
    if not (declared.isascii() and declared.isdigit()) or len(declared) > 12 or int(declared) > most:
        raise HTTPException(413, f"too large: at most {most:,} bytes")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise HTTPException(413, f"too large: at most {most:,} bytes")
    return bytes(body)


async def document_of(request: Request) -> dict[str, Any]:
    """The JSON object in the body; raises 415, 413 or 400."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise HTTPException(415, "expected application/json")
    return parsed_object(await body_of(request, JSON_BYTES))


def parsed_object(text: str | bytes) -> dict[str, Any]:
    """A JSON object without NaN or infinity; raises 400."""
    try:
        document = cast("object", json.loads(text, parse_constant=_refused))
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, "not JSON") from error
    if not isinstance(document, dict):
        raise HTTPException(400, "expected a JSON object")
    return cast("dict[str, Any]", document)


def _refused(name: str) -> object:
    raise ValueError(name)
