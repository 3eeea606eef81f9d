"""Access control: the lab runs programs and reads pictures, so only its own page may use it.

    address    the server listens on 127.0.0.1 only, and refuses other Host headers (DNS rebinding)
    key        the printed address contains a random token, which is exchanged for a cookie (HttpOnly,
               SameSite=Strict); then the browser is redirected to an address without the token; every other
               request needs the cookie
    origin     every request except GET and HEAD, and every WebSocket, must have the lab's own Origin header, and
               Sec-Fetch-Site must agree if the browser sends it; there is no CORS
    page       a strict Content-Security-Policy: only the lab's own scripts, styles and connections, none inline

Tokens are compared in constant time. SameSite alone would not be enough: a page on another port of 127.0.0.1 counts as
the same *site*. The check of the origin refuses its requests.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import parse_qs

from starlette.datastructures import MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HOST = "127.0.0.1"
_POLICY_VIOLATION = 1008  # of RFC 6455, section 7.4.1
_SAFE = ("GET", "HEAD")
_CLOSED = (
    "This page is opened by the address that `striate lab` printed in its terminal: it ends with a key.\n"
    "Copy that address into the browser again.\n"
)


@dataclass(frozen=True)
class Keys:
    """The secrets of one server: ``token`` is part of the printed address, and is exchanged for ``cookie``."""

    token: str
    cookie: str

    @classmethod
    def fresh(cls) -> Keys:
        """Return new keys of 256 random bits each."""
        return cls(secrets.token_urlsafe(32), secrets.token_urlsafe(32))


def same(given: str, expected: str) -> bool:
    """Return whether two strings are equal, in a time that does not depend on where they differ."""
    return secrets.compare_digest(given.encode("utf-8", "surrogateescape"), expected.encode())


class Guard:
    """ASGI middleware that passes on to the lab only requests of the lab's own page in the user's browser.

    It checks the headers Host, Origin and Sec-Fetch-Site, and the cookie. A request with the token of the printed
    address gets the cookie, and is redirected to the page. Any other request without the cookie, and any request with
    wrong headers, is refused. ``app`` is the lab's application, ``keys`` has token and cookie, and ``port`` is the port
    on which the server listens.
    """

    def __init__(self, app: ASGIApp, keys: Keys, port: int) -> None:
        self._app = app
        self._keys = keys
        self.hosts = (f"{HOST}:{port}", f"localhost:{port}")
        self.cookie_name = f"striate-lab-{port}"  # cookies are shared by all ports of a host
        sockets = " ".join(f"ws://{host}" for host in self.hosts)
        self._headers = {
            "Content-Security-Policy": (
                "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
                f"connect-src 'self' {sockets}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
                "require-trusted-types-for 'script'; trusted-types 'none'"
            ),
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Cache-Control": "no-store",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            if self._refusal(scope, own_origin=True) is not None:
                await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": ""})
            else:
                await self._app(scope, receive, send)
        elif scope["type"] == "http":
            answer = self._refusal(scope, own_origin=scope["method"] not in _SAFE)
            await (self._app if answer is None else answer)(scope, receive, self._sealed(send))

    def _refusal(self, scope: Scope, own_origin: bool) -> Response | None:
        """Return the response that refuses the request (or redirects it to the page), or None if it is allowed."""
        headers = Headers(scope["headers"])
        hosts = headers.all("host")
        if len(hosts) != 1 or hosts[0] not in self.hosts:
            return PlainTextResponse("This server answers only to 127.0.0.1.\n", 421)
        origins = headers.all("origin")
        strange = bool(origins) and origins != [f"http://{hosts[0]}"]
        if strange or (own_origin and not origins):
            return PlainTextResponse("Only the lab's own page may ask for this.\n", 403)
        elsewhere = any(site not in ("same-origin", "none") for site in headers.all("sec-fetch-site"))
        if elsewhere and scope["type"] == "http":  # a WebSocket must have an Origin, which was checked above
            entering = self._entering(scope) and headers.all("sec-fetch-mode") == ["navigate"]
            if not entering:
                return PlainTextResponse("Only the lab's own page may ask for this.\n", 403)
        if self._entering(scope):
            return self._welcome(scope)
        if not any(same(value, self._keys.cookie) for value in headers.cookies(self.cookie_name)):
            return PlainTextResponse(_CLOSED, 403)
        return None

    @staticmethod
    def _entering(scope: Scope) -> bool:
        """Return whether the request opens the printed address, which contains a token."""
        return (
            scope["type"] == "http"
            and scope["method"] == "GET"
            and scope["path"] == "/"
            and scope["query_string"].startswith(b"token=")
        )

    def _welcome(self, scope: Scope) -> Response:
        """Exchange the token for a cookie, and redirect to an address without it.

        So the token does not stay in the address bar or in the browser's history.
        """
        query = scope["query_string"].decode("latin-1")
        tokens = parse_qs(query, keep_blank_values=True, max_num_fields=8).get("token", []) if len(query) < 999 else []
        if len(tokens) != 1 or not same(tokens[0], self._keys.token):
            return PlainTextResponse(_CLOSED, 403)
        answer = RedirectResponse("/", 303)
        answer.set_cookie(self.cookie_name, self._keys.cookie, path="/", httponly=True, samesite="strict")
        return answer

    def _sealed(self, send: Send) -> Send:
        """Return a ``send`` that adds the security headers to each response."""

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers[name] = value
            await send(message)

        return sending


class Headers:
    """The headers of a request exactly as they were sent, including repeated ones."""

    def __init__(self, raw: Iterable[tuple[bytes, bytes]]) -> None:
        self._raw = [(name.lower().decode("latin-1"), value.decode("latin-1")) for name, value in raw]

    def all(self, name: str) -> list[str]:
        """Return all values of the header with this lower-case name."""
        return [value for key, value in self._raw if key == name]

    def cookies(self, name: str) -> list[str]:
        """Return the values of all cookies of this name: a server on another port may have set a second one."""
        pairs = [pair.strip().partition("=") for line in self.all("cookie") for pair in line.split(";")]
        return [value.strip('"') for key, _, value in pairs if key == name]
