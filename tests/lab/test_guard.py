"""Attacks on each rule of the guard."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from striate.lab.guard import Headers, same
from tests.lab.conftest import ORIGIN, PORT, Front

LIVE = f"ws://127.0.0.1:{PORT}/live"


def test_the_token_becomes_a_cookie_and_leaves_the_address(front: Front) -> None:
    stranger = front.stranger()
    answer = stranger.get(f"/?token={front.keys.token}")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/"
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert front.keys.token not in cookie
    assert stranger.get("/").status_code == 200


@pytest.mark.parametrize(
    "query",
    ["", "?token=", "?token=wrong", "?token=%00", "?token=é", "?Token={}", "?x=1&token={}", "?token={}&token={}"],
)
def test_without_the_token_nobody_enters(front: Front, query: str) -> None:
    stranger = front.stranger()
    answer = stranger.get("/" + query.format(front.keys.token, front.keys.token))
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers
    assert "striate lab" in answer.text


def test_an_endless_token_is_refused(front: Front) -> None:
    assert front.stranger().get("/?token=" + "a&b=" * 15_000).status_code == 403


@pytest.mark.parametrize("path", ["/", "/static/main.js", "/api/choices", "/nothing"])
def test_without_the_cookie_everything_is_closed(front: Front, path: str) -> None:
    stranger = front.stranger()
    assert stranger.get(path).status_code == 403
    for wrong in ("", "x", front.keys.token, front.keys.cookie[:-1], front.keys.cookie + "a", "é"):
        raw = [(b"cookie", f"striate-lab-{PORT}={wrong}".encode())]
        assert stranger.get(path, headers=raw).status_code == 403
    other = [("Cookie", f"striate-lab-{PORT + 1}={front.keys.cookie}")]
    assert stranger.get(path, headers=other).status_code == 403


def test_a_second_cookie_from_another_port_locks_nobody_out(front: Front) -> None:
    name = f"striate-lab-{PORT}"
    headers = {"Cookie": f"{name}=planted; {name}={front.keys.cookie}"}
    assert front.stranger().get("/", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", f"evil.example:{PORT}", "127.0.0.1", f"127.0.0.1:{PORT + 1}", f"127.0.0.1:{PORT}.evil.example",
     f"127.0.0.1:{PORT}@evil.example", f"0.0.0.0:{PORT}", f"[::1]:{PORT}", "", f"127.0.0.1:{PORT} "],
)  # fmt: skip
def test_other_hosts_are_refused_also_with_the_cookie(client: TestClient, host: str) -> None:
    assert client.get("/api/choices", headers={"Host": host}).status_code == 421
    with pytest.raises(WebSocketDisconnect):
        client.websocket_connect(LIVE, headers={"Host": host}).__enter__()


def test_two_hosts_are_refused(client: TestClient) -> None:
    headers = [("Host", f"127.0.0.1:{PORT}"), ("Host", f"127.0.0.1:{PORT}")]
    assert client.get("/api/choices", headers=headers).status_code == 421


def test_a_rebound_name_gets_no_cookie_even_with_the_token(front: Front) -> None:
    answer = front.stranger(f"http://evil.example:{PORT}").get(f"/?token={front.keys.token}")
    assert answer.status_code == 421
    assert "set-cookie" not in answer.headers


FOREIGN = ["http://evil.example", f"http://evil.example:{PORT}", f"https://127.0.0.1:{PORT}", "null", "",
           f"http://127.0.0.1:{PORT + 1}", f"http://localhost:{PORT}", f"http://127.0.0.1:{PORT}/"]  # fmt: skip


@pytest.mark.parametrize("origin", [None, *FOREIGN])
def test_a_post_from_elsewhere_is_refused(client: TestClient, front: Front, origin: str | None) -> None:
    del client.headers["Origin"]
    headers = {} if origin is None else {"Origin": origin}
    for path in ("/api/trainings", f"/api/runs/{front.key}/stop", f"/api/runs/{front.key}/look", "/"):
        assert client.post(path, json={"sample": 0}, headers=headers).status_code == 403
    assert [entry.key for entry in front.lab.runs] == [front.key]


@pytest.mark.parametrize("origin", [None, *FOREIGN])
def test_a_socket_from_elsewhere_is_refused(client: TestClient, origin: str | None) -> None:
    del client.headers["Origin"]
    headers = {} if origin is None else {"Origin": origin}
    with pytest.raises(WebSocketDisconnect) as refused:
        client.websocket_connect(LIVE, headers=headers).__enter__()
    assert refused.value.code == 1008


def test_a_socket_without_the_cookie_is_refused(front: Front) -> None:
    with pytest.raises(WebSocketDisconnect):
        front.stranger().websocket_connect(LIVE, headers={"Origin": ORIGIN}).__enter__()


def test_two_origins_are_one_too_many(client: TestClient) -> None:
    del client.headers["Origin"]
    headers = [("Origin", ORIGIN), ("Origin", "http://evil.example"), ("Content-Type", "application/json")]
    assert client.post("/api/trainings", content=b"{}", headers=headers).status_code == 403


@pytest.mark.slow
@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "QUERY"])
def test_other_methods_need_the_origin_and_lead_nowhere(client: TestClient, method: str) -> None:
    assert client.request(method, "/api/trainings").status_code == 405
    del client.headers["Origin"]
    assert client.request(method, "/api/trainings").status_code == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site", "nonsense"])
def test_a_get_that_another_site_or_port_caused_is_refused(client: TestClient, front: Front, site: str) -> None:
    headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "no-cors"}
    assert client.get("/api/choices", headers=headers).status_code == 403
    assert client.get("/static/main.js", headers=headers).status_code == 403
    entering = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate"}  # the printed link, clicked in a web terminal
    del client.headers["Origin"]
    assert client.get(f"/?token={front.keys.token}", headers=entering, follow_redirects=False).status_code == 303
    assert client.get(f"/?token={front.keys.token}", headers=headers, follow_redirects=False).status_code == 403


def test_no_answer_allows_other_origins_and_all_carry_the_policy(client: TestClient, front: Front) -> None:
    answers = [client.get("/"), client.get("/static/main.js"), client.get("/api/choices"), client.get("/none"),
               client.post("/api/trainings", json={"model": "none"}), front.stranger().get("/")]  # fmt: skip
    for answer in answers:
        assert not [name for name in answer.headers if name.startswith("access-control")]
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        for name, value in {
            "x-content-type-options": "nosniff", "x-frame-options": "DENY", "referrer-policy": "no-referrer",
            "cache-control": "no-store", "cross-origin-resource-policy": "same-origin",
        }.items():  # fmt: skip
            assert answer.headers[name] == value


def test_the_page_has_no_script_or_style_inside(client: TestClient) -> None:
    page = client.get("/").text
    assert page.count("<script") == page.count('<script type="module" src="/static/')
    for forbidden in ("<style", " style=", "javascript:", " onclick", " onload"):
        assert forbidden not in page
    for name in ("main.js", "dom.js", "look.js", "maps.js", "training.js"):
        text = client.get(f"/static/{name}").text
        for forbidden in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"):
            assert forbidden not in text


@pytest.mark.parametrize(
    "path",
    ["/static/../app.py", "/static/..%2fapp.py", "/static/%2e%2e/guard.py", "/static/..\\app.py", "/static//etc/passwd",
     "/static/%00", "/static/index.html%00.js", "/static/", "/static/static/main.js", "/static/MAIN.js"],
)  # fmt: skip
def test_only_the_files_of_the_page_are_served(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


@pytest.mark.slow
@pytest.mark.parametrize(
    "key",
    ["..", "%2e%2e", "..%2f..%2fetc", "/etc/passwd", "%2Fetc%2Fpasswd", "seen", "001-lenet5", "a" * 5000, "%00", "é"],
)
def test_a_path_is_no_name_of_a_run(client: TestClient, front: Front, key: str) -> None:
    assert client.get(f"/api/runs/{key}/model").status_code == 404
    assert client.post(f"/api/runs/{key}/look", json={"sample": 0}).status_code == 404
    assert client.post(f"/api/runs/{key}/stop", json={}).status_code == 404
    with client.websocket_connect(LIVE) as socket:
        socket.send_json({"follow": [key, front.key]})
        told: list[dict[str, Any]] = [socket.receive_json(), socket.receive_json()]
    assert {one.get("run", front.key) for one in told} == {front.key}


def test_no_path_of_this_machine_is_told(client: TestClient, front: Front) -> None:
    with client.websocket_connect(LIVE) as socket:
        runs = str(socket.receive_json())
    told = runs + client.get("/api/choices").text + client.get(f"/api/runs/{front.key}/model").text
    folder = front.lab.runs[front.key].folder
    assert str(folder.parent) not in told
    assert front.key not in (folder.name, str(folder))


def test_comparison_takes_no_shorter_for_an_early_difference() -> None:
    assert same("abc", "abc")
    assert not same("abd", "abc")
    assert not same("", "abc")
    assert not same("\udcff", "abc")


def test_headers_are_not_merged() -> None:
    headers = Headers([(b"Host", b"a"), (b"host", b"b"), (b"Cookie", b"x=1; y=2"), (b"cookie", b'x="3"')])
    assert headers.all("host") == ["a", "b"]
    assert headers.cookies("x") == ["1", "3"]
