"""The files of the page, read once from the package; nothing else can be requested."""

from __future__ import annotations

import mimetypes
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

_TYPES = {".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".svg": "image/svg+xml"}


class Pages:
    """``/`` and ``/static/NAME``."""

    def __init__(self) -> None:
        folder = files("striate.lab").joinpath("static")
        self.contents = {entry.name: entry.read_bytes() for entry in folder.iterdir() if entry.is_file()}

    def index(self, request: Request) -> Response:
        """The page."""
        return self._answer("index.html")

    def file(self, request: Request) -> Response:
        """One of its files; names are looked up, no path is made of them."""
        return self._answer(request.path_params["name"])

    def _answer(self, name: str) -> Response:
        content = self.contents.get(name)
        if content is None:
            return PlainTextResponse("There is no such file.\n", 404)
        ending = name[name.rfind(".") :]
        kind = _TYPES.get(ending) or mimetypes.guess_type(name)[0] or "application/octet-stream"
        return Response(content, media_type=kind)
