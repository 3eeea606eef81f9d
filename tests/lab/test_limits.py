"""Uploads that are too large, have too many pixels, or are not pictures."""

from __future__ import annotations

import asyncio
import io
import struct
import zlib
from collections.abc import Iterator

import pytest
from PIL import Image, PngImagePlugin
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.testclient import TestClient

from striate.lab import limits
from striate.lab.limits import JSON_BYTES, PICTURE_BYTES, PICTURE_PIXELS, body_of
from tests.lab.conftest import PORT, Front

PNG = {"Content-Type": "image/png"}


def png(picture: Image.Image, **options: object) -> bytes:
    with io.BytesIO() as stream:
        picture.save(stream, "PNG", **options)
        return stream.getvalue()


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def bomb(side: int) -> bytes:
    """Return a PNG of a few kilobytes that decodes to side × side pixels."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0))
    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(side // 8 + 1)) for _ in range(side)) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def look(client: TestClient, front: Front, content: bytes, kind: str = "image/png") -> tuple[int, str]:
    answer = client.post(f"/api/runs/{front.key}/look", content=content, headers={"Content-Type": kind})
    return answer.status_code, answer.text


def test_a_declared_size_is_refused_before_a_byte_is_read() -> None:
    async def receive() -> dict[str, object]:
        raise AssertionError("the body was read")

    for declared in (b"9000001", b"99999999999999999999", b"-1", b"1e3", "²".encode("latin-1"), b" 5"):
        scope = {"type": "http", "method": "POST", "headers": [(b"content-length", declared)]}
        with pytest.raises(HTTPException) as refused:
            asyncio.run(body_of(Request(scope, receive), PICTURE_BYTES))
        assert refused.value.status_code == 413


def test_a_body_that_is_longer_than_it_may_be_is_not_read_to_its_end() -> None:
    given = 0

    async def receive() -> dict[str, object]:
        nonlocal given
        given += 1
        return {"type": "http.request", "body": bytes(1000), "more_body": True}

    with pytest.raises(HTTPException) as refused:
        asyncio.run(body_of(Request({"type": "http", "method": "POST", "headers": []}, receive), 10_000))
    assert refused.value.status_code == 413
    assert given == 11


def test_a_body_that_does_not_arrive_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BODY_SECONDS", 0.01)

    async def receive() -> dict[str, object]:
        await asyncio.sleep(10)
        raise AssertionError("nobody waits so long")

    with pytest.raises(HTTPException) as refused:
        asyncio.run(body_of(Request({"type": "http", "method": "POST", "headers": []}, receive), 10_000))
    assert refused.value.status_code == 408


@pytest.mark.parametrize(
    "text", ['{"lr": "\\ud800"}', '{"data": ["digits"]}', '{"data": {}}', '{"depth": ' + "9" * 300 + "}"]
)
def test_strange_values_are_refused_in_words(client: TestClient, text: str) -> None:
    answer = client.post("/api/trainings", content=text.encode(), headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["error"]


def test_huge_uploads(client: TestClient, front: Front) -> None:
    assert look(client, front, bytes(PICTURE_BYTES + 1))[0] == 413

    def endless() -> Iterator[bytes]:
        for _ in range(12):
            yield bytes(1_000_000)

    answer = client.post(f"/api/runs/{front.key}/look", content=endless(), headers=PNG)
    assert answer.status_code == 413
    text = client.post("/api/trainings", content=b" " * (JSON_BYTES + 1), headers={"Content-Type": "application/json"})
    assert text.status_code == 413


def test_a_decompression_bomb_is_refused_by_its_head(client: TestClient, front: Front) -> None:
    content = bomb(8_000)
    assert len(content) < 20_000
    status, text = look(client, front, content)
    assert status == 422
    assert f"more than {PICTURE_PIXELS:,} pixels" in text
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 6, 0, 0, 0))
    assert look(client, front, b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b""))[0] == 422


def test_a_bomb_of_text_inside_a_picture(client: TestClient, front: Front) -> None:
    notes = PngImagePlugin.PngInfo()
    notes.add_text("note", "a" * 60_000_000, zip=True)
    content = png(Image.new("L", (8, 8)), pnginfo=notes)
    assert len(content) < 100_000
    assert look(client, front, content)[0] == 422


@pytest.mark.parametrize(
    "content",
    [b"", b"no picture", b"GIF89a" + bytes(40), b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"\x89PNG\r\n\x1a\n",
     b"\xff\xd8\xff\xe0" + bytes(30), b"%PDF-1.4", b"8BPS\x00\x01" + bytes(40)],
)  # fmt: skip
def test_what_is_no_png_or_jpeg_is_refused_whatever_it_claims(client: TestClient, front: Front, content: bytes) -> None:
    for kind in ("image/png", "image/jpeg"):
        status, text = look(client, front, content, kind)
        assert status == 422
        assert "not a picture that can be read" in text


def test_a_picture_that_ends_early(client: TestClient, front: Front) -> None:
    whole = png(Image.effect_noise((64, 64), 90))
    for end in (50, len(whole) // 2, len(whole) - 60):
        assert look(client, front, whole[:end])[0] == 422


@pytest.mark.parametrize(
    "kind", ["", "image/gif", "text/plain", "multipart/form-data", "application/x-www-form-urlencoded"]
)
def test_forms_and_other_types_are_refused(client: TestClient, front: Front, kind: str) -> None:
    assert look(client, front, b'{"sample": 0}', kind)[0] == 415
    answer = client.post("/api/trainings", content=b"{}", headers={"Content-Type": kind})
    assert answer.status_code == 415


@pytest.mark.parametrize(
    "text", ["", "[]", "1", "null", "{", '{"sample": NaN}', '{"sample": -1}', '{"sample": 1.5}', '{"sample": true}',
             '{"sample": "0"}', "{}", '{"sample": 1e99}', '{"a":' * 3000 + "1" + "}" * 3000],
)  # fmt: skip
def test_what_is_no_question_is_refused(client: TestClient, front: Front, text: str) -> None:
    status, _ = look(client, front, text.encode(), "application/json")
    assert status == (413 if len(text) > JSON_BYTES else 400)


@pytest.mark.parametrize("text", ["[]", "no", '{"follow": 1}', '{"follow": NaN}', "x" * 20_000])
def test_a_socket_that_talks_nonsense_is_closed(client: TestClient, text: str) -> None:
    with client.websocket_connect(f"ws://127.0.0.1:{PORT}/live") as socket:
        socket.send_text(text)
        closed: dict[str, object] = {}
        while closed.get("type") != "websocket.close":
            closed = dict(socket.receive())
        assert closed["code"] == 1008
