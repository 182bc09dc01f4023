"""The table of routes: who may call, what is taken and given, and how every error is told."""

from __future__ import annotations

import socket
import threading
import time
from typing import Any

import msgspec
import pytest

import sagalog
from sagalog import Rate, errors
from sagalog_http import Call, HttpError, Problem, Route, public, scope
from sagalog_http import errors as refusals
from sagalog_http.access import Access
from sagalog_http.application import Application
from sagalog_http.authenticator import FRESH_S
from sagalog_http.errors import ANSWERS, answer_of
from sagalog_http.rates import Buckets
from sagalog_http.rules import Asked
from sagalog_http.tokens import SCOPES
from tests.adapters.http.served import ROUTES, Served, serving, who


class Lenient(msgspec.Struct):
    """A struct that throws away what it does not know."""

    kind: str


# --- the table ------------------------------------------------------------------------------------------------------


def test_a_route_without_a_rule_cannot_be_made() -> None:
    """[HTTP-1]"""
    with pytest.raises(TypeError):
        Route("GET", "/x", who)  # type: ignore[call-arg]
    for rule in (None, "public", object()):
        with pytest.raises(TypeError, match="a route has a rule"):
            Route("GET", "/x", who, rule)  # type: ignore[arg-type]


def test_each_route_of_a_table_has_a_rule_with_a_name() -> None:
    """[HTTP-1]"""
    assert {route.rule.name for route in ROUTES} <= {"public", *(f"scope {one}" for one in SCOPES)}


@pytest.mark.parametrize("takes", [Lenient, list[Lenient], dict[str, Lenient | None]])
def test_a_struct_that_takes_unknown_fields_makes_no_route(takes: Any) -> None:
    with pytest.raises(TypeError, match="forbid_unknown_fields"):
        Route("POST", "/x", who, public(), takes=takes)


def test_two_routes_of_one_method_and_path_are_refused(engine: sagalog.Engine) -> None:
    with pytest.raises(ValueError, match="two routes answer GET /x"):
        Application([Route("GET", "/x", who, public()), Route(("GET", "PUT"), "/x", who, public())], engine)


def test_a_capacity_that_is_not_there_is_refused(engine: sagalog.Engine) -> None:
    with pytest.raises(ValueError, match="no capacity 'nope'"):
        Application([Route("GET", "/x", who, public(), capacity="nope")], engine)


@pytest.mark.parametrize("method", ["TRACE", "get", "", "OPTIONS"])
def test_a_method_that_no_route_may_have_is_refused(method: str) -> None:
    with pytest.raises(ValueError, match="expected methods"):
        Route(method, "/x", who, public())


# --- who may call ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["TRACE", "PATCH", "OPTIONS", "NOPE"])
def test_a_method_that_a_path_has_not_is_405_with_those_that_it_has(served: Served, method: str) -> None:
    answer = served.ask(method, "/who")
    assert (answer.status_code, answer.headers["allow"], answer.json()["code"]) == (405, "GET", "method_not_allowed")


def test_an_unknown_path_is_404(served: Served) -> None:
    for path in ("/nope", "/", "//who", "/who/", "/tasks/a/b/end"):
        answer = served.ask("GET", path)
        assert (answer.status_code, answer.json()["code"]) == (404, "no_such_path")


def test_a_route_needs_a_token_with_its_scope_or_admin() -> None:
    """[HTTP-1] Every scope on every route."""
    routes = [Route("GET", f"/{one}", who, scope(one)) for one in SCOPES]
    with serving(routes) as served:
        tokens = {one: served.bearer(one, name=one) for one in SCOPES}
        for needed in SCOPES:
            assert served.ask("GET", f"/{needed}").status_code == 401
            for given, headers in tokens.items():
                expected = 200 if given in (needed, "admin") else 403
                assert served.ask("GET", f"/{needed}", headers=headers).status_code == expected, (needed, given)


def test_a_refusal_for_a_missing_scope_names_it(served: Served) -> None:
    answer = served.ask("DELETE", "/nothing", headers=served.bearer("read", name="reader"))
    assert answer.status_code == 403
    assert "'operate'" in answer.json()["detail"]


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer nope", "Basic {0}", "bearer  {0}", "Bearer {0}x", "Bearer {1}", "{0}"],
)
def test_what_is_no_live_token_is_401(served: Served, header: str) -> None:
    secret = served.bearer("admin", name=f"of {header}")["authorization"].removeprefix("Bearer ")
    answer = served.ask("GET", "/who", headers={"authorization": header.format(secret, secret.upper())})
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert secret not in answer.text


def test_a_token_is_refused_within_a_second_of_its_end(served: Served) -> None:
    """[TOKEN-4]"""
    headers = served.bearer("read", name="gone")
    assert served.ask("GET", "/who", headers=headers).status_code == 200
    served.tokens.revoke("gone")
    time.sleep(FRESH_S)
    assert served.ask("GET", "/who", headers=headers).status_code == 401
    short = served.bearer("read", name="short", ttl_ms=1)
    time.sleep(0.01)
    assert served.ask("GET", "/who", headers=short).status_code == 401


def test_a_request_that_waits_ends_within_a_second_of_its_token(served: Served) -> None:
    """[TOKEN-4]"""
    headers = served.bearer("read", name="waits")
    served.engine.create("k", id="never-ends")
    revoking = threading.Timer(0.6, lambda: served.tokens.revoke("waits"))
    revoking.start()
    begun = time.monotonic()
    answer = served.ask("GET", "/tasks/never-ends/end", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert time.monotonic() - begun < 1.6
    revoking.join()


def test_a_handler_learns_what_its_caller_may_touch(served: Served) -> None:
    headers = served.bearer("read", name="narrow", queues=["q"], kinds=["other"])
    assert served.ask("GET", "/who", headers=headers).json() == {"token": "narrow", "may": [True, False]}


def test_the_name_of_the_token_is_the_actor_of_the_event(served: Served) -> None:
    """[TOKEN-2]"""
    answer = served.ask("POST", "/tasks", json={"kind": "build"}, headers=served.bearer("produce", name="ci"))
    assert served.engine.history(answer.json()["id"])[0].actor == "token:ci"


def test_the_use_of_a_token_is_put_on_record(served: Served) -> None:
    """[TOKEN-5]"""
    headers = served.bearer("read", name="used")
    served.ask("GET", "/who", headers=headers)
    until = time.monotonic() + 10
    while next(one for one in served.tokens.list() if one.name == "used").used_ms is None:
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_rule_of_ones_own_may_look_at_the_body() -> None:
    class Signed:
        name = "signed"
        needs_body = True

        async def admit(self, asked: Asked) -> Access:
            if asked.body != b"signed":
                raise refusals.Forbidden("the signature is wrong")
            return Access(token="hook")  # noqa: S106  the name of one

    async def handle(call: Call) -> dict[str, Any]:
        return {"body": call.body.decode(), "actor": call.actor}

    from sagalog_http import RAW

    with serving([Route("POST", "/hook", handle, Signed(), takes=RAW)]) as served:
        assert served.ask("POST", "/hook", content=b"forged").status_code == 403
        assert served.ask("POST", "/hook", content=b"signed").json() == {"body": "signed", "actor": "token:hook"}


# --- open while no tokens -------------------------------------------------------------------------------------------


def test_an_open_server_asks_for_tokens_once_there_is_one() -> None:
    """[TOKEN-6] Within a second, and its end opens nothing."""
    with serving(ROUTES, open_while_no_tokens=True) as served:
        assert served.ask("GET", "/who").json()["token"] is None
        headers = served.bearer("read")
        time.sleep(FRESH_S)
        assert served.ask("GET", "/who").status_code == 401
        assert served.ask("GET", "/who", headers=headers).status_code == 200
        served.tokens.revoke("ann")
        time.sleep(FRESH_S)
        assert served.ask("GET", "/who").status_code == 401
        served.tokens.remove("ann")
        time.sleep(FRESH_S)
        assert served.ask("GET", "/who").status_code == 200


def test_a_server_that_is_not_to_be_open_never_is() -> None:
    """[TOKEN-6]"""
    with serving(ROUTES) as served:
        assert served.ask("GET", "/who").status_code == 401


def test_an_open_server_is_not_open_on_another_address() -> None:
    """[TOKEN-6] Whatever its peer says of itself."""
    with serving(ROUTES, open_while_no_tokens=True) as served:
        served.server.application.authenticator.is_loopback = False
        forged = {"x-forwarded-for": "127.0.0.1", "forwarded": "for=127.0.0.1", "x-real-ip": "127.0.0.1"}
        assert served.ask("GET", "/who", headers=forged).status_code == 401


# --- host and origin ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "a@localhost", "", "x y"]
)
def test_a_host_that_a_page_may_have_rebound_is_refused(served: Served, host: str) -> None:
    """[HTTP-2] On public routes too."""
    for path in ("/page", "/who", "/nope"):
        answer = served.ask("GET", path, headers={"host": host})
        assert (answer.status_code, answer.json()["code"]) == (403, "host_refused")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "a.localhost:99", "127.0.0.1", "[::1]:80", "10.1.2.3"])
def test_the_names_of_loopback_and_addresses_are_answered(served: Served, host: str) -> None:
    assert served.ask("GET", "/page", headers={"host": host}).status_code == 200


def test_names_that_are_allowed_are_answered() -> None:
    with serving(ROUTES, hosts=("queue.example", "other.example:81")) as served:
        for host, status in (
            ("queue.example:9", 200),
            ("Queue.Example.", 200),
            ("other.example:81", 200),
            ("other.example:82", 403),
        ):
            assert served.ask("GET", "/page", headers={"host": host}).status_code == status, host


def test_a_page_of_another_origin_may_not_call(served: Served) -> None:
    """[HTTP-2] Nothing of its request takes effect, and a browser is told nothing."""
    before = served.engine.newest_position()
    headers = served.bearer("admin", name="of a page")
    for origin in ("https://evil.example", "null", "http://localhost:1", "x"):
        answer = served.ask("POST", "/tasks", json={"kind": "k"}, headers={**headers, "origin": origin})
        assert (answer.status_code, answer.json()["code"]) == (403, "origin_refused")
        assert "access-control-allow-origin" not in answer.headers
        asked = {"origin": origin, "access-control-request-method": "POST"}
        assert served.ask("OPTIONS", "/tasks", headers=asked).status_code == 403
    assert served.engine.newest_position() == before


def test_pages_of_allowed_origins_and_our_own_may_call() -> None:
    with serving(ROUTES, origins=("https://app.example", "http://localhost:*", "app://*")) as served:
        for origin in ("https://app.example", "http://localhost:3000", "app://obsidian.md", served.url):
            answer = served.ask("GET", "/page", headers={"origin": origin})
            assert answer.headers["access-control-allow-origin"] == origin
            assert answer.headers["vary"] == "Origin"
        for origin in ("http://app.example", "https://app.example.evil", "http://localhost:1/x", "http://localhost"):
            assert served.ask("GET", "/page", headers={"origin": origin}).status_code == 403, origin


def test_a_preflight_is_answered_for_what_the_path_has() -> None:
    with serving(ROUTES, origins=("https://app.example",)) as served:
        asked = {
            "origin": "https://app.example",
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization,content-type",
        }
        answer = served.ask("OPTIONS", "/tasks", headers=asked)
        assert answer.status_code == 204
        assert answer.headers["access-control-allow-methods"] == "POST"
        assert answer.headers["access-control-allow-headers"] == "authorization,content-type"


# --- what is taken --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"kind": 1}',
        b'{"kind": "k", "state": "done"}',
        b'{"kind": "k", "kind": "l"}',
        b'{"kind": "\xff"}',
        b'{"kind": "k", "priority": 1.5}',
        b'{"kind": NaN}',
        b'{"kind":' + b"[" * 50_000,
        b"[]",
        b'\xef\xbb\xbf{"kind": "k"}',
        '{"kind": "k"}'.encode("utf-16"),
        b'{"kind": "a\\u0000b"}',
        b'{"kind": "\\ud800"}',
    ],
)
def test_a_body_that_is_not_what_is_taken_is_400_and_writes_nothing(
    served: Served, admin: dict[str, str], body: bytes
) -> None:
    before = served.engine.newest_position()
    headers = {**admin, "content-type": "application/json"}
    answer = served.ask("POST", "/tasks", content=body, headers=headers)
    assert answer.status_code == 400, answer.text
    assert answer.json()["code"] in ("invalid_body", "invalid_value")
    assert served.engine.newest_position() == before


@pytest.mark.parametrize("field", ["token", "state", "attempt", "fence", "epoch", "tenant", "position", "actor"])
def test_a_field_that_is_not_taken_is_refused_by_its_name(served: Served, admin: dict[str, str], field: str) -> None:
    answer = served.ask("POST", "/tasks", json={"kind": "k", field: "x"}, headers=admin)
    assert answer.status_code == 400
    assert f"`{field}`" in answer.json()["detail"]


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded", "application/jsonx"])
def test_a_body_that_does_not_say_that_it_is_json_is_415(
    served: Served, admin: dict[str, str], kind: str | None
) -> None:
    headers = admin if kind is None else {**admin, "content-type": kind}
    assert served.ask("POST", "/tasks", content=b'{"kind": "k"}', headers=headers).status_code == 415


@pytest.mark.parametrize("query", ["limit=x", "limit=1&limit=2", "nope=1", "limit=", "limit=1&nope"])
def test_parameters_that_are_not_taken_are_400(served: Served, query: str) -> None:
    answer = served.ask("GET", f"/page?{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_body")
    assert served.ask("GET", "/page?limit=3").json() == {"limit": 3}


def test_a_route_that_takes_nothing_refuses_a_body_and_a_query(served: Served, admin: dict[str, str]) -> None:
    assert served.ask("GET", "/who?a=1", headers=admin).status_code == 400
    assert served.ask("DELETE", "/nothing", headers=admin, content=b"x").status_code == 400
    assert served.ask("DELETE", "/nothing", headers=admin).status_code == 204


# --- what is told ---------------------------------------------------------------------------------------------------


def test_every_error_of_sagalog_has_a_row_in_the_table() -> None:
    """[HTTP-4]"""
    kinds = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, sagalog.SagalogError)]
    assert {one for one in kinds if one is not sagalog.SagalogError} <= set(ANSWERS)
    for one in vars(refusals).values():
        if isinstance(one, type) and issubclass(one, HttpError) and one is not HttpError:
            assert issubclass(one, sagalog.SagalogError)
            answer = answer_of(one("x"))
            assert answer is not None
            assert 400 <= answer.status < 600
            assert one.code != "error"


def test_a_problem_says_what_it_is_and_what_to_do(served: Served) -> None:
    answer = served.ask("GET", "/who")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {
        "type": "urn:sagalog:error:unauthenticated",
        "title": "This route needs a token.",
        "status": 401,
        "detail": "send the header `Authorization: Bearer <token>`; `sagalog token create` makes one",
        "code": "unauthenticated",
    }


def test_of_a_defect_the_caller_gets_an_id_and_no_word(served: Served) -> None:
    """[HTTP-4]"""
    answer = served.ask("GET", "/fails")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert answer.json()["id"] in answer.json()["detail"]
    assert "canary" not in answer.text
    assert "KeyError" not in answer.text


def test_a_store_that_is_away_is_503_with_a_time_and_no_path(served: Served) -> None:
    """[HTTP-4]"""
    answer = served.ask("GET", "/refuses")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "secret" not in answer.text


def test_a_route_may_render_its_errors_in_a_form_of_its_own() -> None:
    def render(problem: Problem) -> Any:
        from starlette.responses import JSONResponse

        return JSONResponse({"error": problem.detail}, problem.status)

    async def handle(call: Call) -> None:
        raise sagalog.NotFound("there is no model 'x'; pull it", model="x")

    with serving([Route("GET", "/x", handle, public(), render=render)]) as served:
        answer = served.ask("GET", "/x")
        assert (answer.status_code, answer.json()) == (404, {"error": "there is no model 'x'; pull it"})
        assert served.ask("GET", "/x", headers={"host": "evil.example"}).json().keys() == {"error"}
        assert served.ask("PUT", "/x").json().keys() == {"error"}


def test_every_answer_forbids_storing_and_sniffing_and_names_no_program(served: Served) -> None:
    """[HTTP-3]"""
    answers = [served.ask(*one) for one in (("GET", "/page"), ("GET", "/who"), ("GET", "/nope"), ("GET", "/fails"))]
    answers.append(served.ask("GET", "/page", headers={"host": "evil.example"}))
    answers.append(served.ask("TRACE", "/page"))
    for answer in answers:
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "server" not in answer.headers
        assert "uvicorn" not in answer.text.lower()
    bare = served.send(b"nonsense\r\n\r\n").lower()
    assert b"no-store" in bare
    assert b"server:" not in bare


# --- rates ----------------------------------------------------------------------------------------------------------


def test_a_bucket_gives_its_burst_and_then_its_rate() -> None:
    """[HTTP-6]"""
    now = [0.0]
    buckets = Buckets(Rate(2, 1_000, 3), lambda: now[0])
    for _ in range(3):
        buckets.take("a")
    with pytest.raises(refusals.TooManyRequests) as refused:
        buckets.take("a")
    assert refused.value.retry_after_ms == 501
    buckets.take("b")
    now[0] = 0.5
    buckets.take("a")
    with pytest.raises(refusals.TooManyRequests):
        buckets.take("a")


def test_a_token_and_an_address_have_rates() -> None:
    """[HTTP-6]"""
    few = Rate(1, 60_000, 3)
    with serving(ROUTES, token_rate=few, address_rate=None) as served:
        headers = served.bearer("read")
        found = [served.ask("GET", "/who", headers=headers) for _ in range(4)]
        assert [one.status_code for one in found] == [200, 200, 200, 429]
        assert int(found[-1].headers["retry-after"]) > 50
        assert served.ask("GET", "/who", headers=served.bearer("read", name="bob")).status_code == 200
    with serving(ROUTES, address_rate=few) as served:
        forged = [{"x-forwarded-for": f"10.0.0.{number}"} for number in range(4)]
        found = [served.ask("GET", "/page", headers=one) for one in forged]
        assert [one.status_code for one in found] == [200, 200, 200, 429]


def test_guesses_of_tokens_are_slowed_down_and_known_tokens_are_not() -> None:
    """[HTTP-6]"""
    with serving(ROUTES, stranger_rate=Rate(1, 60_000, 5)) as served:
        headers = served.bearer("read")
        assert served.ask("GET", "/who", headers=headers).status_code == 200
        guess = {"authorization": f"Bearer sagalog_{'x' * 43}"}
        found = [served.ask("GET", "/who", headers=guess).status_code for _ in range(7)]
        assert found == [401] * 5 + [429] * 2
        assert served.ask("GET", "/who", headers=headers).status_code == 200


def test_a_refusal_reads_no_body_and_closes_the_connection(served: Served) -> None:
    """[HTTP-1] The rule is asked first: the body of a stranger is not read."""
    body = b"POST /tasks HTTP/1.1\r\nhost: localhost\r\ncontent-length: 900000\r\n\r\n"
    with served.connection() as connection:
        connection.sendall(body)
        answer = connection.recv(65_536)
        assert answer.startswith(b"HTTP/1.1 401")
        assert b"connection: close" in answer
        connection.shutdown(socket.SHUT_WR)
