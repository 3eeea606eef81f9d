"""Access control. The lab runs programs and reads pictures, so only its own page may make it do anything.

    address    bound to 127.0.0.1; a Host header that names anything else is refused (DNS rebinding)
    key        the printed address holds a random token; it becomes a cookie, HttpOnly and SameSite=Strict, and the
               browser is sent on to an address without it; every other request needs the cookie
    origin     every request but GET, and every WebSocket, must name the lab's own origin; so must Sec-Fetch-Site,
               where a browser sends it; there is no CORS
    page       a strict Content-Security-Policy: scripts, styles and connections of the lab itself alone, none inline

Tokens are compared in constant time. A page on another port of 127.0.0.1 counts as the same *site*, so SameSite alone
would let it in: the checks of origin do not.
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
    """``token`` is in the address that is printed; ``cookie`` is what it is exchanged for."""

    token: str
    cookie: str

    @classmethod
    def fresh(cls) -> Keys:
        """256 random bits each."""
        return cls(secrets.token_urlsafe(32), secrets.token_urlsafe(32))


def same(given: str, expected: str) -> bool:
    """Whether two strings are equal, compared in constant time."""
    return secrets.compare_digest(given.encode("utf-8", "surrogateescape"), expected.encode())


class Guard:
    """ASGI middleware that lets a request reach the lab only if it passes the checks above."""

    def __init__(self, app: ASGIApp, keys: Keys, port: int) -> None:
        self._app = app
        self._keys = keys
        self.hosts = (f"{HOST}:{port}", f"localhost:{port}")
        self.cookie_name = f"striate-lab-{port}"  # cookies do not keep ports apart
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
        """The refusal to send instead of the page; None where access is allowed."""
        headers = Headers(scope["headers"])
        hosts = headers.all("host")
        if len(hosts) != 1 or hosts[0] not in self.hosts:
            return PlainTextResponse("This server answers to 127.0.0.1 alone.\n", 421)
        origins = headers.all("origin")
        strange = bool(origins) and origins != [f"http://{hosts[0]}"]
        if strange or (own_origin and not origins):
            return PlainTextResponse("Only the lab's own page may ask for this.\n", 403)
        elsewhere = any(site not in ("same-origin", "none") for site in headers.all("sec-fetch-site"))
        if elsewhere and scope["type"] == "http":  # of a WebSocket the origin, which it must name, says the same
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
        """Whether the address of the request holds a token."""
        return (
            scope["type"] == "http"
            and scope["method"] == "GET"
            and scope["path"] == "/"
            and scope["query_string"].startswith(b"token=")
        )

    def _welcome(self, scope: Scope) -> Response:
        """Exchanges the token for a cookie, so that it leaves the address and the browser's history."""
        query = scope["query_string"].decode("latin-1")
        tokens = parse_qs(query, keep_blank_values=True, max_num_fields=8).get("token", []) if len(query) < 999 else []
        if len(tokens) != 1 or not same(tokens[0], self._keys.token):
            return PlainTextResponse(_CLOSED, 403)
        answer = RedirectResponse("/", 303)
        answer.set_cookie(self.cookie_name, self._keys.cookie, path="/", httponly=True, samesite="strict")
        return answer

    def _sealed(self, send: Send) -> Send:
        """``send`` with the headers of every response."""

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers[name] = value
            await send(message)

        return sending


class Headers:
    """The headers of a request as they were sent: none is merged or dropped."""

    def __init__(self, raw: Iterable[tuple[bytes, bytes]]) -> None:
        self._raw = [(name.lower().decode("latin-1"), value.decode("latin-1")) for name, value in raw]

    def all(self, name: str) -> list[str]:
        """Every value under that name."""
        return [value for key, value in self._raw if key == name]

    def cookies(self, name: str) -> list[str]:
        """Every cookie of that name: somebody on another port may have set a second one."""
        pairs = [pair.strip().partition("=") for line in self.all("cookie") for pair in line.split(";")]
        return [value.strip('"') for key, _, value in pairs if key == name]
