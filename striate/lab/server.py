"""The lab's server process: one socket on 127.0.0.1, until Ctrl-C."""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
import sys
import webbrowser
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import uvicorn

from striate.errors import OptionError
from striate.lab.app import Lab, Routes
from striate.lab.guard import HOST, Guard, Keys
from striate.lab.limits import MESSAGE_BYTES
from striate.lab.protocol import HastyProtocol

_CLOSING = 2
"""Seconds until open connections are closed when the lab ends; pages would keep them open forever."""


def listening(port: int) -> socket.socket:
    """Return a socket that listens on this port of 127.0.0.1 only; port 0 chooses a free one.

    Raises ``OptionError`` if the port is taken.
    """
    # With IPPROTO_TCP given, asyncio disables Nagle's algorithm; otherwise each small answer waits 40 ms for an ACK.
    found = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if sys.platform == "win32":  # where SO_REUSEADDR would let two processes listen on one port
            found.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((HOST, port))
        found.listen(64)
    except OSError as error:
        found.close()
        raise OptionError(
            f"--port {port}: {error.strerror or error}\n  help: leave it out to get a free one"
        ) from error
    return found


def serve(folder: Path, run: Path | None, *, port: int, browser: bool, say: Callable[[str], None]) -> None:
    """Serve the lab until Ctrl-C.

    ``folder`` is the folder of the trainings that the lab starts. ``run`` is the folder of a run to show first, or
    None. ``port`` is the port on 127.0.0.1; 0 chooses a free one. ``browser`` opens the page in the browser, and
    ``say`` prints a line in the terminal. Raises ``OptionError`` if the port is taken.
    """
    with contextlib.closing(listening(port)) as found:
        port = found.getsockname()[1]
        keys = Keys.fresh()
        address = f"http://{HOST}:{port}/?token={keys.token}"
        routes = Routes(Lab.of(folder, run, say))
        config = uvicorn.Config(
            Guard(routes.application(), keys, port),
            log_level="warning",
            access_log=False,  # its lines would contain the token
            server_header=False,
            proxy_headers=False,
            loop="asyncio",
            http=HastyProtocol,
            ws_max_size=MESSAGE_BYTES,
            ws_per_message_deflate=False,
            timeout_graceful_shutdown=_CLOSING,
        )
        logging.getLogger("uvicorn.error").addFilter(_without_traceback)
        server = _Server(config, lambda: opened(address, browser, say))
        with contextlib.suppress(KeyboardInterrupt):  # raised again by uvicorn when everything is closed
            server.run(sockets=[found])
        routes.trainings.leave()  # after a second Ctrl-C, which does not wait for anything
    say("the lab is closed")


def _without_traceback(record: logging.LogRecord) -> bool:
    """Remove the traceback from uvicorn's message about a WebSocket message that is not UTF-8; keep all records."""
    if record.getMessage().startswith("Invalid UTF-8"):
        record.exc_info = None
    return True


def opened(address: str, browser: bool, say: Callable[[str], None]) -> None:
    """Print the lab's address, and open it in the browser if ``browser`` is true."""
    say(f"the lab is open at\n\n  {address}\n\nCtrl-C closes it, and stops trainings that run.")
    if browser:
        with contextlib.suppress(webbrowser.Error):
            webbrowser.open(address)


class _Server(uvicorn.Server):
    """A uvicorn server that calls ``ready`` when it listens, and stops cleanly if the terminal is closed."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        if self.force_exit:  # do not report the errors of what a forced exit interrupted
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if hasattr(signal, "SIGHUP"):
            with contextlib.suppress(ValueError):  # not in the main thread
                signal.signal(signal.SIGHUP, self.handle_exit)
        if self.started:
            self._ready()
