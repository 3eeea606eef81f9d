"""Limits on input: sizes are checked before and during reading, and the form before the data are used."""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

JSON_BYTES = 16_000
PICTURE_BYTES = 8_000_000
PICTURE_PIXELS = 16_000_000
BODY_SECONDS = 30.0
MESSAGE_BYTES = 16_000
"""The largest WebSocket message in bytes; the server rejects larger ones before the application sees them."""


async def body_of(request: Request, most: int) -> bytes:
    """Return the body of a request if it has at most ``most`` bytes.

    Otherwise, ``HTTPException`` 413 is raised: before reading if the declared length is larger, or as soon as more
    bytes have arrived. Raises ``HTTPException`` 408 if the body is not complete within 30 s.
    """
    declared = request.headers.get("content-length", "0")
    if not (declared.isascii() and declared.isdigit()) or len(declared) > 12 or int(declared) > most:
        raise HTTPException(413, f"too large: at most {most:,} bytes")
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > most:
                    raise HTTPException(413, f"too large: at most {most:,} bytes")
    except ClientDisconnect as error:
        raise HTTPException(400, "the client left") from error
    except TimeoutError as error:
        raise HTTPException(408, "too slow") from error
    return bytes(body)


async def document_of(request: Request) -> dict[str, Any]:
    """Return the JSON object in the body of a request.

    Raises ``HTTPException`` 415 for another content type, 413 for more than 16,000 bytes, 400 for anything but an
    object.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise HTTPException(415, "expected application/json")
    return parsed_object(await body_of(request, JSON_BYTES))


def parsed_object(text: str | bytes) -> dict[str, Any]:
    """Parse a JSON object without NaN or infinity; raise ``HTTPException`` 400 for anything else."""
    try:
        document = cast("object", json.loads(text, parse_constant=_refused))
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, "not JSON") from error
    if not isinstance(document, dict):
        raise HTTPException(400, "expected a JSON object")
    return cast("dict[str, Any]", document)


def _refused(name: str) -> object:
    raise ValueError(name)
