"""The WebSocket that sends to each page the list of runs, and the growing records of the runs that the page follows.

page → server    {"follow": [key, …]}
server → page    {"kind": "runs", "runs": [summary, …]}                    at first, and after a change
                 {"kind": "history", "run": key, "history": {…}}           at first, and if a page fell behind
                 {"kind": "events", "run": key, "events": [{…}, …]}        new lines of progress.jsonl
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, cast

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from striate.lab.answers import json_text
from striate.lab.limits import MESSAGE_BYTES, parsed_object
from striate.lab.runs import Entry, Runs

_EVERY = 0.12
"""Seconds between two checks of the records; a training extends its record every 0.2 s."""
_RUNS_EVERY = 4
"""Number of checks between two summaries of all runs."""
_MOST_FOLLOWED = 12
MOST_CLIENTS = 32
_TRY_LATER = 1013
_BAD_MESSAGE = 1008


class Live:
    """Serves the WebSockets of all open pages.

    Each page has its own task. Each line of a run's record, ``progress.jsonl``, is read once for all pages.
    """

    def __init__(self, runs: Runs) -> None:
        self._listed = runs
        self._reading = asyncio.Lock()
        self._clients = 0
        self.closing = False

    async def refresh(self, entry: Entry) -> None:
        """Read the new lines of the ``progress.jsonl`` of the run ``entry``, in a worker thread."""
        if entry.story.changed():
            async with self._reading:
                await run_in_threadpool(entry.story.advance)

    async def serve(self, socket: WebSocket) -> None:
        """Serve one page until it disconnects.

        If 32 pages are open already, the connection is closed at once, with the code that asks the browser to try
        later.
        """
        if self._clients >= MOST_CLIENTS:
            await socket.close(_TRY_LATER)
            return
        self._clients += 1
        try:
            await self._converse(socket)
        finally:
            self._clients -= 1  # also if the client left before the connection was accepted

    async def _converse(self, socket: WebSocket) -> None:
        """Accept a connection, and serve the page until it disconnects."""
        try:
            await socket.accept()
        except (WebSocketDisconnect, OSError):
            return
        page = _Page(socket, self._listed, self)
        telling = asyncio.create_task(page.tell())
        try:
            await page.listen()
        except WebSocketDisconnect:
            pass
        except HTTPException:
            await socket.close(_BAD_MESSAGE)
        finally:
            telling.cancel()
            with contextlib.suppress(asyncio.CancelledError, WebSocketDisconnect, RuntimeError):
                await telling


class _Page:
    def __init__(self, socket: WebSocket, runs: Runs, live: Live) -> None:
        self._socket = socket
        self._listed = runs
        self._live = live
        self._followed: dict[str, tuple[int, int]] = {}  # key → chapter and number of events already sent
        self._runs: list[dict[str, Any]] | None = None

    async def listen(self) -> None:
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            if not isinstance(text, str) or len(text) > MESSAGE_BYTES:
                raise HTTPException(400)
            keys: Any = parsed_object(text).get("follow")
            if not isinstance(keys, list):
                raise HTTPException(400)
            wanted = [key for key in cast("list[object]", keys) if isinstance(key, str) and key in self._listed.entries]
            self._followed = {key: self._followed.get(key, (0, 0)) for key in wanted[:_MOST_FOLLOWED]}

    async def tell(self) -> None:
        look = 0
        while self._socket.client_state is WebSocketState.CONNECTED and not self._live.closing:
            if look % _RUNS_EVERY == 0:
                await self._tell_runs()
            for key in list(self._followed):
                await self._tell_story(self._listed[key])
            look += 1
            await asyncio.sleep(_EVERY)

    async def _tell_runs(self) -> None:
        runs: list[dict[str, Any]] = []
        for entry in list(self._listed):
            await self._live.refresh(entry)
            entry.refresh()
            runs.append(entry.summary())
        if runs != self._runs:
            self._runs = runs
            await self._send({"kind": "runs", "runs": runs})

    async def _tell_story(self, entry: Entry) -> None:
        await self._live.refresh(entry)
        story = entry.story
        chapter, told = self._followed.get(entry.key, (0, 0))
        events = story.since(told) if chapter == story.chapter else None
        if entry.key in self._followed:
            self._followed[entry.key] = (story.chapter, story.number)
        if events is None:
            await self._send({"kind": "history", "run": entry.key, "history": entry.history()})
        elif events:
            await self._send({"kind": "events", "run": entry.key, "events": events})

    async def _send(self, document: dict[str, Any]) -> None:
        await self._socket.send_text(json_text(document))
