"""Attack a running lab: every route and WebSocket, as a stranger, as another site, and as a page gone mad.

    python tests/campaign/lab.py                        every attack once
    python tests/campaign/lab.py --seconds 600          then damaged requests at random, for ten minutes

``striate lab`` runs in a process of its own, and requests are written to its socket byte by byte. The routes are those
of the application itself, so none can be forgotten. Without a key, with a foreign Host or Origin, no request may be
answered by anything but a refusal; with a key, every malformed request must be refused,
and none may end in a traceback,
a status of 500, or a lab that answers no more. These attacks are made: see the functions ``attack_…``.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import os
import random
import re
import resource
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
sys.path.insert(0, str(CHECKOUT))
METHODS = (
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "DELETE",
    "PATCH",
    "OPTIONS",
    "TRACE",
    "CONNECT",
    "PROPFIND",
    "QUERY",
    "get",
    "X-Y",
)
USUAL = (
    "/.env", "/.git/HEAD", "/admin", "/server-status", "/docs", "/openapi.json", "/favicon.ico", "/robots.txt",
    "//evil.example/", "/?x=%0d%0aSet-Cookie:a=b", "/metrics", "/debug", "/graphql", "/api/", "/api/runs",
    "/backup.zip",
)  # fmt: skip
REFUSALS = (400, 403, 404, 405, 408, 413, 414, 415, 421, 422, 426, 431, 501, 505)
TRAVERSALS = (
    "..", "%2e%2e", "..%2f..%2fetc%2fpasswd", "....//etc/passwd", "..\\..\\windows", "%5c..%5c", "%00", "a%00.js",
    "/etc/passwd",
    "%2fetc%2fpasswd", "..%252f..", "%c0%ae%c0%ae/", "%ff", "é", "a" * 3000, "index.html%20", "INDEX.HTML",
    ".git/config", "app.py",
    "%0d%0aX-Injected:%20yes", "x%0d%0a%0d%0aHTTP/1.1%20200", "${jndi:ldap://x}", "{{7*7}}",
    "<script>alert(1)</script>",
    "'%20OR%201=1--", "|id", ";id", "$(id)", "con", "nul",
)  # fmt: skip


class BrokenError(Exception):
    """A rule of the lab was broken."""


@dataclass
class Answer:
    """The answer to a request: 0 for a connection that was closed without one, and -1 for one that stays open."""

    status: int
    head: str = ""
    body: bytes = b""


@dataclass
class Target:
    """A running lab, and what an attacker on this computer knows: its port. ``cookie`` and ``key`` are secrets."""

    process: subprocess.Popen[bytes]
    port: int
    token: str
    errors: Path
    cookie: str = ""
    key: str = ""
    counts: Counter[str] = field(default_factory=Counter[str])

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def connected(self, timeout: float = 20) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout)

    def send(self, raw: bytes, timeout: float = 20, end: bool = False) -> Answer:
        """Send bytes on a new connection, and return the first answer."""
        self.counts["requests"] += 1
        with self.connected(timeout) as connection:
            try:
                connection.sendall(raw)
                if end:
                    connection.shutdown(socket.SHUT_WR)
                return received(connection)
            except TimeoutError:
                return Answer(-1)
            except OSError:
                return Answer(0)

    def request(
        self,
        method: str,
        path: str,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
        *,
        host: str | None = None,
    ) -> Answer:
        """Send a request that ends the connection, with exactly these headers besides Host and Content-Length."""
        lines = [f"{method} {path} HTTP/1.1", f"Host: {host or self.host}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in headers]
        if body and not any(name.lower() in ("content-length", "transfer-encoding") for name, _ in headers):
            lines.append(f"Content-Length: {len(body)}")
        return self.send("\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape") + body)

    @property
    def own(self) -> list[tuple[str, str]]:
        """The headers of the lab's own page."""
        return [("Cookie", f"striate-lab-{self.port}={self.cookie}"), ("Origin", f"http://{self.host}")]

    def enter(self) -> None:
        """Exchange the token for the cookie, and find the key of a run if there is one."""
        answer = self.request("GET", f"/?token={self.token}")
        found = re.search(rf"striate-lab-{self.port}=([\w-]+)", answer.head)
        require(answer.status == 303 and found is not None, f"the token is not accepted: {answer}")
        assert found is not None
        self.cookie = found[1]
        self.key = str(json.loads(self.request("GET", "/api/choices", self.own).body)["first"])

    def require_alive(self, what: str) -> None:
        start = time.monotonic()
        answer = self.request("GET", "/api/choices", self.own)
        require(answer.status == 200, f"after {what}, the lab answers {answer.status}")
        self.counts["slowest answer, ms"] = max(
            self.counts["slowest answer, ms"], round(1000 * (time.monotonic() - start))
        )
        text = self.errors.read_text(errors="replace")
        require("Traceback" not in text and "Exception in ASGI" not in text, f"after {what}: {text[-2000:]}")

    def memory(self) -> int:
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * resource.getpagesize()

    def files(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


def received(connection: socket.socket) -> Answer:
    """Return the first answer on a connection; a body is read to the length that its head declares."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            return Answer(0, "", data)
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: *(\d+)", head)
    most = int(length[1]) if length else 0
    with contextlib.suppress(OSError):
        while len(body) < most:
            piece = connection.recv(65536)
            if not piece:
                break
            body += piece
    status = re.match(rb"HTTP/1\.\d (\d{3})", head)
    return Answer(int(status[1]) if status else 0, head.decode("latin-1"), body)


def require(truth: object, what: str) -> None:
    if not truth:
        raise BrokenError(what)


@contextlib.contextmanager
def running(folder: Path, run: Path | None = None, patience: float = 1.0) -> Iterator[Target]:
    """Start a lab on a free port, and stop it at the end with Ctrl-C.

    ``patience`` is a factor for the times that the lab gives slow clients, which tests make short.
    """
    code = (
        "from striate.lab import limits, protocol; from striate.cli import main; "
        f"limits.BODY_SECONDS *= {patience}; protocol.HEAD_SECONDS *= {patience}; main()"
    )
    errors = folder / "errors.txt"
    words = [
        sys.executable,
        "-c",
        code,
        "lab",
        "--no-browser",
        "--folder",
        str(folder / "runs"),
        *([str(run)] if run else []),
    ]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "PYTHONUNBUFFERED": "1"}
    with errors.open("wb") as stream:
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=stream, env=environment)
    output = b""
    assert process.stdout is not None
    while (found := re.search(rb"http://127\.0\.0\.1:(\d+)/\?token=([\w-]+)", output)) is None:
        line = process.stdout.readline()
        require(line, f"the lab did not start: {errors.read_text()}")
        output += line
    try:
        yield Target(process, int(found[1]), found[2].decode(), errors)
    finally:
        process.send_signal(2)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def routes() -> list[tuple[str, frozenset[str]]]:
    """Return the paths of the application with their methods; those of a WebSocket have none."""
    from starlette.routing import Route, WebSocketRoute

    from striate.lab.app import Lab, Routes

    found: list[tuple[str, frozenset[str]]] = []
    for route in Routes(Lab.of(Path("/nonexistent"), None)).application().routes:
        require(isinstance(route, Route | WebSocketRoute), f"a route of another kind: {route}")
        methods = frozenset(route.methods or ()) if isinstance(route, Route) else frozenset[str]()
        found.append((getattr(route, "path", ""), methods))
    return found


def filled(path: str, target: Target, value: str | None = None) -> str:
    """Return the path of a route with a value in place of its parameters: by default one that exists."""
    usual = {"key": target.key, "name": "sigmoid" if "activations" in path else "main.js"}
    return re.sub(r"\{(\w+)\}", lambda one: usual.get(one[1], "x") if value is None else value, path)


# Strangers


def attack_as_a_stranger(target: Target) -> None:
    """Every route and every method, without a cookie, with a wrong one, and from elsewhere."""
    cookie, origin = target.own
    wrong = [
        ([], None), ([("Cookie", f"striate-lab-{target.port}=x")], None), ([("Cookie",
        f"striate-lab-{target.port}={target.token}")], None),
        ([("Cookie", f"striate-lab-{target.port + 1}={target.cookie}")], None), ([("Authorization",
        f"Bearer {target.cookie}")], None),
        ([origin], None), ([origin, ("Cookie", f"{cookie[1]}x")], None), ([("Cookie", cookie[1][:-1]), origin], None),
        ([cookie, ("Origin", "http://evil.example")], None), ([cookie, ("Origin", "null")], None), ([cookie, origin,
        ("Origin", "null")], None),
        ([cookie, ("Sec-Fetch-Site", "cross-site")], None), ([cookie, ("Origin", f"https://{target.host}")], None),
        ([cookie, origin], "evil.example"), ([cookie, origin], f"127.0.0.1:{target.port + 1}"), ([cookie, origin],
        f"[::1]:{target.port}"),
        ([cookie, origin, ("X-Forwarded-Host", target.host)], f"evil.example:{target.port}"),
        ([cookie, origin, ("Host", target.host)], None),
    ]  # fmt: skip
    for path, _ in routes():
        for method in METHODS:
            for headers, host in wrong:
                body = b"{}" if method in ("POST", "PUT", "PATCH") else b""
                typed = [*headers, ("Content-Type", "application/json")] if body else headers
                answer = target.request(method, filled(path, target), typed, body, host=host)
                what = f"{method} {path} with {headers} to {host}: {answer.status}"
                require(answer.status in REFUSALS or answer.status == 0, what)
                require("set-cookie" not in answer.head.lower() and "access-control" not in answer.head.lower(), what)
                require(target.cookie.encode() not in answer.body and target.token.encode() not in answer.body, what)
                if answer.status in (403, 421):
                    require("content-security-policy" in answer.head.lower(), f"{what}: no policy")
        if path != "/live":
            answer = target.request("POST", filled(path, target), [cookie], b"{}")
            require(answer.status in REFUSALS, f"POST {path} without an Origin: {answer.status}")


def shake(
    target: Target, headers: Sequence[tuple[str, str]], host: str | None = None, path: str = "/live"
) -> tuple[socket.socket, Answer]:
    """Ask for a WebSocket; returns the connection and the answer."""
    target.counts["WebSockets"] += 1
    connection = target.connected()
    key = base64.b64encode(os.urandom(16)).decode()
    lines = [f"GET {path} HTTP/1.1", f"Host: {host or target.host}", "Upgrade: websocket", "Connection: Upgrade",
             f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", *(f"{name}: {value}" for name,
             value in headers)]  # fmt: skip
    connection.sendall("\r\n".join([*lines, "", ""]).encode())
    try:
        return connection, received(connection)
    except OSError:
        return connection, Answer(0)


def attack_the_socket_as_a_stranger(target: Target) -> None:
    cookie, origin = target.own
    for path, methods in routes():
        if methods:
            continue
        for headers, host in (
            ([], None), ([cookie], None), ([origin], None), ([cookie, ("Origin", "http://evil.example")], None),
            ([cookie, ("Origin", "null")], None),
            ([origin, ("Cookie", f"striate-lab-{target.port}=x")], None), ([cookie, origin], "evil.example"),
            ([cookie, ("Origin", f"http://127.0.0.1:{target.port + 1}")], None), ([cookie, origin, origin], None),
        ):  # fmt: skip
            connection, answer = shake(target, headers, host, path)
            connection.close()
            require(answer.status in (*REFUSALS, 0), f"WebSocket {path} with {headers} to {host}: {answer.status}")
    for path in ("/", "/api/choices", "/live/", "/nothing", "/static/main.js"):
        connection, answer = shake(target, target.own, path=path)
        connection.close()
        require(answer.status != 101, f"a WebSocket at {path}")


# Pages gone mad


def attack_with_bodies(target: Target) -> None:
    """Every route that takes a body, from the lab's own page, with bodies that are none."""
    kinds = ("application/json", "image/png", "image/jpeg", "text/plain", "multipart/form-data; boundary=x",
    "application/x-www-form-urlencoded", "", "application/json; charset=utf-16")  # fmt: skip
    bodies = (
        b"", b"{", b"[]", b"null", b'{"sample": 1e999}', b'{"sample": ' + b"9" * 5000 + b"}", b"[" * 7000,
        b'{"a":' * 2500 + b"1" + b"}" * 2500,
        b"\xff\xfe[\x00]\x00", b'{"model": "lenet5", "epochs": 1e308}', b'{"data": "/etc/passwd"}',
        b'{"data": "../../x"}', b'{"model": "x; id"}',
        b'{"epochs": -1}', b'{"lr": "nan"}', b'{"model": ["lenet5"]}', b'{"model": {"a": 1}}', b'{"settings": 1}',
        b'{"lr": true}', b'{"lr": "\\ud800"}', b'{"data": ["digits"]}', b'{"data": {}}',
        b'{"depth": ' + b"9" * 300 + b"}", b"\0" * 9000,
        b'{"model": "lenet5", "model": "mlp", "x": "\\ud800"}', b"\x89PNG\r\n\x1a\n" + bytes(60),
        b"\xff\xd8\xff" + bytes(60), b"x" * 20_000,
    )  # fmt: skip
    for path, methods in routes():
        if "POST" not in methods:
            continue
        for kind in kinds:
            for body in bodies:
                if path.endswith("stop"):
                    continue
                answer = target.request("POST", filled(path, target), [*target.own, ("Content-Type", kind)], body)
                fine = answer.status in REFUSALS or (answer.status == 200 and "look" in path)
                require(fine, f"POST {path} {kind} {body[:40]!r}: {answer.status}")
                target.counts["bodies"] += 1
    target.require_alive("bodies that are none")
    for path, methods in routes():
        if "POST" in methods and not path.endswith("stop"):
            for length in ("99999999999", "-1", "1e9", "0x10", "9" * 40):
                headers = [*target.own, ("Content-Type", "application/json"), ("Content-Length", length)]
                answer = target.request("POST", filled(path, target), headers, b"{}")
                require(answer.status in (*REFUSALS, 0), f"POST {path} of length {length}: {answer.status}")
            with target.connected() as connection:  # a body without end
                head = f"POST {filled(path, target)} HTTP/1.1\r\nHost: {target.host}\r\nTransfer-Encoding: chunked\r\n"
                head += "Content-Type: image/png\r\n"
                head += "".join(f"{name}: {value}\r\n" for name, value in target.own) + "\r\n"
                connection.sendall(head.encode())
                before, sent = target.memory(), 0
                with contextlib.suppress(OSError):
                    while sent < 60_000_000:
                        connection.sendall(b"10000\r\n" + bytes(65536) + b"\r\n")
                        sent += 65536
                grown = target.memory() - before
                require(grown < 40_000_000, f"POST {path} keeps {grown:,} bytes of a body without end")
    target.require_alive("bodies without end")


def frame(
    opcode: int, content: bytes, *, masked: bool = True, last: bool = True, length: int | None = None, reserved: int = 0
) -> bytes:
    """Return a frame of RFC 6455; ``length`` is what it declares."""
    size = len(content) if length is None else length
    start = bytes([(128 if last else 0) | reserved << 4 | opcode])
    mask = 128 if masked else 0
    if size < 126:
        start += bytes([mask | size])
    else:
        start += (
            bytes([mask | 126]) + struct.pack(">H", size)
            if size < 65536
            else bytes([mask | 127]) + struct.pack(">Q", size)
        )
    key = b"\1\2\3\4" if masked else b""
    return (
        start + key + bytes(byte ^ key[place % 4] for place, byte in enumerate(content)) if masked else start + content
    )


def attack_with_frames(target: Target) -> None:
    """WebSocket messages that are too large, malformed, or no questions."""
    follow = json.dumps({"follow": [target.key]}).encode()
    attacks = (
        frame(1, b"x" * 17_000), frame(1, b"", length=1 << 40), frame(1, b"", length=(1 << 63) - 1), frame(2, follow),
        frame(1, b"\xff\xfe\xfd"),
        frame(1, follow, masked=False), frame(3, follow), frame(11, b""), frame(1, follow, reserved=4), frame(9,
        b"x" * 126), frame(8, b"\x03"),
        frame(0, follow), frame(1, b'{"fol', last=False) + frame(1, b"x"), frame(1, b"x", last=False) + frame(0,
        b"y" * 9000, last=False) * 50,
        frame(1, b"[" * 9000), frame(1, b'{"follow": 1}'), frame(1,
        json.dumps({"follow": ["x" * 100] * 100}).encode()), frame(9, b"ping") * 3000,
        frame(1, b'{"follow": ' + b"9" * 5000 + b"}"), frame(1, b'{"follow": ["\\ud800", null, {}, 1e999]}'),
        b"GET / HTTP/1.1\r\n\r\n", os.urandom(4000),
        frame(1, follow) * 500, frame(8, struct.pack(">H", 1000)) + frame(1, follow),
    )  # fmt: skip
    for attack in attacks:
        connection, answer = shake(target, target.own)
        require(answer.status == 101, f"the lab's own page is refused: {answer.status}")
        with connection, contextlib.suppress(OSError):
            connection.settimeout(0.3)
            connection.sendall(attack)
            while connection.recv(65536):
                pass
        target.counts["messages"] += 1
    target.require_alive("malformed messages")


def attack_with_connections(target: Target) -> None:
    """200 pages at once: 32 are served, the others are asked to try later, and the next one is served again."""
    files = target.files()
    opened = [shake(target, target.own) for _ in range(200)]
    served = sum(answer.status == 101 for _, answer in opened)
    require(32 <= served <= 200, f"{served} of 200 pages are served")
    target.require_alive("200 pages")
    for connection, _ in opened:
        connection.close()
    require_settled(target, files, "200 pages")
    connection, answer = shake(target, target.own)
    require(answer.status == 101, f"after 200 pages, another is refused: {answer.status}")
    connection.close()


def require_settled(target: Target, files: int, what: str) -> None:
    """Wait until the lab has closed its connections; raises ``BrokenError`` if it does not."""
    for _ in range(300):
        if target.files() <= files + 2:
            return
        time.sleep(0.1)
    raise BrokenError(f"after {what}, the lab keeps {target.files()} files open, and {files} before")


def attack_slowly(target: Target) -> None:
    """200 clients that send a byte now and then, or do not read: others are answered, and they are shut out in time."""
    files = target.files()
    starts = (b"", b"G", b"GET / HTTP/1.1\r\n", f"GET / HTTP/1.1\r\nHost: {target.host}\r\nX-a: ".encode())
    slow = [target.connected() for _ in range(200)]
    for number, connection in enumerate(slow):
        connection.sendall(starts[number % len(starts)])
    body = [target.connected() for _ in range(20)]
    for connection in body:
        head = f"POST /api/trainings HTTP/1.1\r\nHost: {target.host}\r\nContent-Type: application/json\r\n"
        head += "Content-Length: 9000\r\n"
        connection.sendall((head + "".join(f"{name}: {value}\r\n" for name, value in target.own) + "\r\n{").encode())
    for _ in range(5):
        target.require_alive("200 slow clients")
        for number, connection in enumerate(slow):
            with contextlib.suppress(OSError):
                if number % 4 == 3:
                    connection.sendall(b"a")
        time.sleep(0.2)
    deadline = time.monotonic() + 90
    while target.files() > files + 2:
        require(time.monotonic() < deadline, f"slow clients are kept for ever: {target.files() - files} connections")
        for connection in slow[3::4]:
            with contextlib.suppress(OSError):
                connection.sendall(b"a")
        time.sleep(0.5)
    for connection in (*slow, *body):
        connection.close()
    target.require_alive("slow clients")


# A scanner


def attack_as_a_scanner(target: Target) -> None:
    """Paths that lead out, injected headers, strange request lines, and requests that two parsers read differently."""
    for headers in (target.own, []):
        for path, methods in routes():
            for value in TRAVERSALS:
                for method in sorted(methods or {"GET"}):
                    place = filled(path, target, value) if "{" in path else f"{path.rstrip('/')}/{value}"
                    answer = target.request(method, place, headers, b"{}" if method == "POST" else b"")
                    require(answer.status in (*REFUSALS, 0), f"{method} {place[:80]}: {answer.status}")
                    require("x-injected" not in answer.head.lower(), f"{method} {place[:80]} injects a header")
                    require(
                        b"root:" not in answer.body and b"import" not in answer.body, f"{method} {place[:80]} leads out"
                    )
        for path in USUAL:
            answer = target.request("GET", path, headers)
            allowed = (*REFUSALS, 200) if headers and path.startswith("/?") else REFUSALS
            require(answer.status in allowed, f"GET {path}: {answer.status}")
            require("location" not in answer.head.lower() or "evil" not in answer.head, f"GET {path} redirects")
            require("\r\nset-cookie: a=b" not in answer.head.lower(), f"GET {path} sets a cookie")
    host, own = target.host, "".join(f"{name}: {value}\r\n" for name, value in target.own)
    hidden = f"GET /api/choices HTTP/1.1\r\nHost: {host}\r\n{own}\r\n"
    post = f"POST /api/trainings HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n{own}"
    raw = (
        post + f"Content-Length: {len(hidden)}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}",
        post + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n[]x",
        post + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        post + "Transfer-Encoding: chunked\r\n\r\nzz\r\n[]\r\n0\r\n\r\n",
        post + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        post + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        post + "Transfer-Encoding: chunked\r\n\r\n2;" + "a" * 70_000 + "\r\n[]\r\n0\r\n\r\n",
        post + "Content-Length: +2\r\n\r\n[]",
        f"GET /api/choices HTTP/1.1\nHost: {host}\n\n",
        f"GET http://evil.example/api/choices HTTP/1.1\r\nHost: {host}\r\n\r\n",
        f"GET /api/choices HTTP/1.1\r\nHost: evil.example\r\nHost: {host}\r\n{own}\r\n",
        "GET /api/choices HTTP/1.1\r\n\r\n", "GET /api/choices\r\n\r\n",
        f"GET /api/choices HTTP/9.9\r\nHost: {host}\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", "\0" * 5000,
        f"GET /{'a' * 100_000} HTTP/1.1\r\nHost: {host}\r\n\r\n",
        f"GET / HTTP/1.1\r\nHost: {host}\r\n" + "X: y\r\n" * 20_000 + "\r\n",
        f"GET / HTTP/1.1\r\nHost: {host}\r\nX: {'y' * 200_000}\r\n\r\n",
        f"GET / HTTP/1.1\r\nHost: {host}\r\n folded: x\r\n\r\n",
        f"GET / HTTP/1.1\r\nHost: {host}\r\nCookie: {'a=b; ' * 12_000}\r\n\r\n",
        f"GET / HTTP/1.1\r\nHost: {host}\x00evil\r\n\r\n",
        f"GET / HTTP/1.1\r\nHost: {host}\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nHTTP2-Settings: AAMAA\r\n\r\n",
        f"OPTIONS * HTTP/1.1\r\nHost: {host}\r\n{own}\r\n",
        f"CONNECT evil.example:443 HTTP/1.1\r\nHost: {host}\r\n{own}\r\n",
        f"GET / HTTP/1.1\r\nHost: {host}\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
        f"GET / HTTP/1.1\r\nHost: {host}\r\nRange: bytes=0-9999999999,1-2\r\n\r\n",
    )  # fmt: skip
    for one in raw:
        answer = target.send(one.encode("latin-1"), timeout=5)
        require(answer.status in (*REFUSALS, 0, -1, 100), f"{one[:100]!r}: {answer.status}")
    target.require_alive("a scanner")
    trace = target.request("TRACE", "/", target.own)
    require(target.cookie.encode() not in trace.body, "TRACE tells the cookie")


def attack_at_random(target: Target, seconds: float, seed: int) -> None:
    """Damaged requests and messages at random."""
    from tests.campaign.mutations import ANY, TEXT, changed

    draw, end = random.Random(seed), time.monotonic() + seconds
    own = "".join(f"{name}: {value}\r\n" for name, value in target.own)
    while time.monotonic() < end:
        path, methods = draw.choice(routes())
        if path.endswith("stop"):
            continue
        with_key = draw.random() < 0.7
        head = f"{draw.choice(sorted(methods) or ['GET'])} {filled(path, target)} HTTP/1.1\r\nHost: {target.host}\r\n"
        head += "Connection: close\r\n"
        head += own if with_key else ""
        body = draw.choice(
            (b'{"sample": 3}', b'{"model": "lenet5", "epochs": 0}', b'{"follow": ["x"]}', b"\x89PNG\r\n\x1a\n")
        )
        head += f"Content-Type: {draw.choice(('application/json', 'image/png'))}\r\nContent-Length: {len(body)}\r\n\r\n"
        request = head.encode() + body
        for _ in range(draw.choice((1, 2, 4))):
            request = changed(request, (*TEXT, *ANY), draw)
        answer = target.send(request, timeout=3, end=True)
        require(answer.status < 500 or answer.status in REFUSALS, f"{request[:300]!r}: {answer.status}")
        require(
            with_key or answer.status in (*REFUSALS, 0, -1, 100), f"{request[:300]!r} without a key: {answer.status}"
        )
    target.require_alive("damaged requests")


ATTACKS: tuple[Callable[[Target], None], ...] = (
    attack_as_a_stranger, attack_the_socket_as_a_stranger, attack_with_bodies, attack_with_frames,
    attack_with_connections,
    attack_slowly, attack_as_a_scanner,
)  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5, help="of damaged requests at random")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--run", type=Path, help="the folder of a finished run, whose model is asked as well")
    parser.add_argument("--only", default="", help="attacks whose names contain this")
    given = parser.parse_args()
    broken = 0
    with tempfile.TemporaryDirectory(prefix="striate-lab-") as folder, running(Path(folder), given.run) as target:
        target.enter()
        before = target.memory()
        attacks = [(one.__name__, one) for one in ATTACKS if given.only in one.__name__]
        attacks.append(("attack_at_random", lambda target: attack_at_random(target, given.seconds, given.seed)))
        for name, attack in attacks:
            start = time.monotonic()
            try:
                attack(target)
                print(f"{name}: {time.monotonic() - start:.1f} s", flush=True)
            except (BrokenError, OSError) as error:
                broken += 1
                print(f"{name}: BROKEN: {type(error).__name__} {error}", flush=True)
        grown = target.memory() - before
        print(f"{dict(target.counts)}; memory grew by {grown / 1e6:.1f} MB; {broken} attacks broke a rule")
    return 1 if broken or grown > 150_000_000 else 0


if __name__ == "__main__":
    sys.exit(main())
