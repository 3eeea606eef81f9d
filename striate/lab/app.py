"""The lab's web application (ASGI): its HTTP routes and its WebSocket.

    GET   /                       the page
    GET   /static/NAME            the files of the page
    GET   /api/choices            what can be trained
    GET   /api/activations/NAME   curves of an activation and its derivative
    GET   /api/runs/KEY/model     input shape and classes of a run's model
    POST  /api/runs/KEY/look      a picture → prediction and feature maps
    POST  /api/runs/KEY/stop      stop a training
    POST  /api/trainings          queue a training
    WS    /live                   the runs and their records

KEY is the random key by which the page knows a run. A GET request never changes anything. Errors are JSON: {"error":
text}.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from striate.errors import StriateError
from striate.lab.answers import Json
from striate.lab.choices import choices, curve
from striate.lab.limits import PICTURE_BYTES, body_of, document_of
from striate.lab.live import Live
from striate.lab.looking import Looking
from striate.lab.pages import Pages
from striate.lab.requests import TrainingRequest, available_data
from striate.lab.runs import Entry, Runs
from striate.lab.trainings import State, Trainings

_PICTURES = ("image/png", "image/jpeg")
_LATE = 1.0
"""Seconds that open pages get to notice that the lab is closing."""


@dataclass
class Lab:
    """The state that all routes share: the runs, the available data, and the run to show first (or None).

    ``data`` has an entry for each data set that the page may choose: its name on the page, and the name or path that
    ``open_data`` takes. ``say`` prints a line in the terminal.
    """

    runs: Runs
    data: Mapping[str, str]
    first: Entry | None
    say: Callable[[str], None]

    @classmethod
    def of(cls, folder: Path, run: Path | None, say: Callable[[str], None] = lambda text: None) -> Lab:
        """Collect the runs in ``folder``; ``run``, if it is not None, is the folder of one more run, to show first.

        The data set of this run can then be chosen for new trainings, too.
        """
        runs = Runs(folder.resolve())
        runs.scan()
        data = {name: name for name in available_data()}
        first = None if run is None else runs.add(run.resolve())
        if first is not None and first.run is not None and first.run.data not in data:
            data[Path(first.run.data).name] = first.run.data
        return cls(runs, data, first, say)


class Routes:
    """The handlers of the lab's HTTP routes and of its WebSocket."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._looking = Looking()
        self._pages = Pages()
        self.live = Live(lab.runs)
        self.trainings = Trainings(lab.runs.changed)

    def application(self) -> Starlette:
        """Return the application: routes, error handlers, and the background task that runs queued trainings."""
        application = Starlette(
            routes=[
                Route("/", self._pages.index),
                Route("/static/{name}", self._pages.file),
                Route("/api/choices", self.choices),
                Route("/api/activations/{name}", self.activation),
                Route("/api/trainings", self.train, methods=["POST"]),
                Route("/api/runs/{key}/stop", self.stop, methods=["POST"]),
                Route("/api/runs/{key}/model", self.model),
                Route("/api/runs/{key}/look", self.look, methods=["POST"]),
                WebSocketRoute("/live", self.follow),
            ],
            exception_handlers={StriateError: _explained, HTTPException: _refused},
            lifespan=self._lifespan,
        )
        application.router.redirect_slashes = False
        return application

    @contextlib.asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncGenerator[None, None]:
        working = asyncio.create_task(self.trainings.run())
        try:
            yield
        finally:
            self.live.closing = True
            if self.trainings.running is not None:
                self._lab.say("stopping the training that runs; its model is saved")
            working.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await working

    def choices(self, request: Request) -> Response:
        """Answer with everything that can be chosen for a training, and the defaults."""
        first = None if self._lab.first is None else self._lab.first.key
        return Json({"data": list(self._lab.data), "first": first, **choices()})

    def activation(self, request: Request) -> Response:
        """Answer with points on the curves of an activation and its derivative."""
        return Json(curve(request.path_params["name"], request.query_params.get("slope", "0.1")))

    async def train(self, request: Request) -> Response:
        """Queue a training and answer with the summary of its run (status 201)."""
        wanted = TrainingRequest.of(await document_of(request), self._lab.data)
        training = self._lab.runs.requested(wanted)
        try:
            self.trainings.add(training)
        except StriateError:
            training.state = State.STOPPED
            raise
        (entry,) = (entry for entry in self._lab.runs if entry.training is training)
        return Json(entry.summary(), 201)

    async def stop(self, request: Request) -> Response:
        """Stop a training that this lab started; for any other run, answer with status 409."""
        entry = self._entry(request)
        if entry.training is None:
            raise HTTPException(409, "this run was not started here; stop it where it was")
        self.trainings.stop(entry.training)
        return Json(entry.summary())

    async def model(self, request: Request) -> Response:
        """Answer with the input shape, classes and data of a run's model."""
        entry = self._entry(request)
        return Json(await run_in_threadpool(self._looking.about, entry.folder))

    async def look(self, request: Request) -> Response:
        """Answer with prediction and feature maps of one picture.

        The picture is uploaded, or it is a held-out one whose index the request contains.
        """
        entry = self._entry(request)
        kind = request.headers.get("content-type", "").partition(";")[0].strip()
        centred = request.query_params.get("centred") == "1"
        wanted = request.query_params.get("saliency") == "1"
        if kind in _PICTURES:
            content = await body_of(request, PICTURE_BYTES)
            return Json(await run_in_threadpool(self._drawn, entry, content, centred, wanted))
        index: Any = (await document_of(request)).get("sample")
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < 2**31:
            raise HTTPException(400, "expected the number of a held-out picture")
        return Json(await run_in_threadpool(self._sample, entry, index, wanted))

    def _drawn(self, entry: Entry, content: bytes, centred: bool, wanted: bool) -> dict[str, Any]:
        pixels, about = self._looking.drawn(entry.folder, content, centred)
        return {**self._looking.look(entry.folder, pixels, wanted), **about}

    def _sample(self, entry: Entry, index: int, wanted: bool) -> dict[str, Any]:
        pixels, about = self._looking.sample(entry.folder, index)
        return {**self._looking.look(entry.folder, pixels, wanted), **about}

    async def follow(self, socket: WebSocket) -> None:
        """Serve the WebSocket of one page: the list of runs, and the records of the runs that the page follows."""
        await self.live.serve(socket)

    def _entry(self, request: Request) -> Entry:
        try:
            return self._lab.runs[request.path_params["key"]]
        except KeyError:
            raise HTTPException(404, "there is no such run") from None


def _explained(request: Request, error: Exception) -> Response:
    return Json({"error": str(error)}, 422)


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return Json({"error": error.detail}, error.status_code, error.headers)
