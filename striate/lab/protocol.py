"""The HTTP protocol of the lab's server, which closes connections of clients that do not finish their requests.

The parser h11 refuses heads of more than 64 kB, and heads that could be read in two ways. ``HastyProtocol`` adds a
limit on time. Without it, any program on this computer could hold connections open for ever, byte by byte, until the
lab has no file descriptor left for its own page.
"""

from __future__ import annotations

import asyncio
from typing import cast

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

HEAD_SECONDS = 10.0
"""Seconds between two checks of a connection; one that waits for the same request at both is closed."""


class HastyProtocol(H11Protocol):
    """An HTTP connection that is closed if the head of a request is not complete within 10 to 20 s.

    The bodies of requests have a limit of their own: see ``limits.body_of``. WebSockets are not affected.
    """

    _waiting: RequestResponseCycle | None = None
    """The last request at the check before, if its response was complete; None before the first request."""
    _check: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._check = self.loop.call_later(HEAD_SECONDS, self._require_progress)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._check is not None:
            self._check.cancel()
        super().connection_lost(exc)

    def _require_progress(self) -> None:
        """Close the connection if it has been waiting for the same request since the last check."""
        if self not in self.connections:  # it has become a WebSocket
            return
        last = cast("RequestResponseCycle | None", self.cycle)  # None before the first request
        if last is None or last.response_complete:
            if last is self._waiting:
                self.transport.close()
                return
            self._waiting = last
        self._check = self.loop.call_later(HEAD_SECONDS, self._require_progress)
