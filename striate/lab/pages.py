"""The static files of the lab's page, read once from the package; no other file can be requested."""

from __future__ import annotations

import mimetypes
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

_TYPES = {".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".svg": "image/svg+xml"}


class Pages:
    """The handlers of the routes ``/`` and ``/static/NAME``."""

    def __init__(self) -> None:
        folder = files("striate.lab").joinpath("static")
        self.contents = {entry.name: entry.read_bytes() for entry in folder.iterdir() if entry.is_file()}

    def index(self, request: Request) -> Response:
        """Answer with the page, in HTML."""
        return self._answer("index.html")

    def file(self, request: Request) -> Response:
        """Answer with one of the page's files, or 404; the name is a key of a dict and never part of a path."""
        return self._answer(request.path_params["name"])

    def _answer(self, name: str) -> Response:
        content = self.contents.get(name)
        if content is None:
            return PlainTextResponse("There is no such file.\n", 404)
        ending = name[name.rfind(".") :]
        kind = _TYPES.get(ending) or mimetypes.guess_type(name)[0] or "application/octet-stream"
        return Response(content, media_type=kind)
