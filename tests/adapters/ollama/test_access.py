"""Who may ask the gateway what: tokens, scopes, and pages of browsers."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from sagalog_http.server import BindRefused
from sagalog_http.tokens import Scope, Tokens
from sagalog_ollama import Settings
from sagalog_ollama.gateway import Gateway as Running
from sagalog_ollama.routes import routes_of
from sagalog_ollama.serving import server_of
from tests.adapters.ollama.gateways import CHAT, Gateway, frames, gateway
from tests.faulty_upstream import FaultyUpstream, Script
from tests.ollama_server.examples import EXAMPLES

STREAM = EXAMPLES["chat stream"]
OPERATE = (
    ("POST", "/api/pull"),
    ("POST", "/api/push"),
    ("POST", "/api/create"),
    ("POST", "/api/copy"),
    ("DELETE", "/api/delete"),
    ("POST", "/api/blobs/sha256:0"),
    ("HEAD", "/api/blobs/sha256:0"),
    ("POST", "/api/me"),
    ("POST", "/api/signout"),
)


def token(ollama: Gateway, name: str, *scopes: Scope, **given: object) -> dict[str, str]:
    """Make a token; return the header that has it."""
    _, secret = Tokens(ollama.engine).create(name, scopes, **given)  # type: ignore[arg-type]
    return {"authorization": f"Bearer {secret}"}


@pytest.fixture
def closed(ollama: Gateway) -> Gateway:
    """A gateway with a token, so that every client needs one."""
    token(ollama, "first", "admin")
    ollama.wait_until(lambda: ollama.client.get("/api/tags").status_code == 401)
    return ollama


def test_no_token_is_needed_on_loopback_while_there_is_none(ollama: Gateway, upstream: FaultyUpstream) -> None:
    upstream.next("/api/chat", Script.example(STREAM))

    assert 200 == ollama.chat().status_code


def test_the_first_token_closes_the_gateway_for_all_others(closed: Gateway) -> None:
    assert 401 == closed.chat().status_code
    assert "Bearer" == closed.chat().headers["www-authenticate"]
    assert [] == closed.tasks()


def test_every_route_but_two_needs_a_token(closed: Gateway) -> None:
    public = {"/", "/healthz"}
    engine = closed.engine
    for method, path in routes(engine, closed.settings):
        answer = closed.client.request(method, path)
        assert (path in public) == (answer.status_code == 200), (method, path, answer.status_code)
        assert path in public or 401 == answer.status_code, (method, path)


def routes(engine: object, settings: Settings) -> list[tuple[str, str]]:
    from sagalog.aio import AsyncEngine

    table = routes_of(Running(AsyncEngine(engine, 1, shares=True), settings))  # type: ignore[arg-type]
    return [(method, route.path.replace("{", "").replace("}", "")) for route in table for method in route.methods]


@pytest.mark.parametrize(("method", "path"), OPERATE)
def test_what_changes_the_models_needs_the_scope_operate(
    closed: Gateway, upstream: FaultyUpstream, method: str, path: str
) -> None:
    upstream.always(path, Script.answer({"status": "success"} if method != "HEAD" else b""))
    weak, strong = token(closed, "weak", "read", "produce"), token(closed, "strong", "operate")

    assert 403 == closed.client.request(method, path, headers=weak).status_code
    assert [] == upstream.of(path)
    assert 200 == closed.client.request(method, path, headers=strong).status_code


def test_a_token_without_produce_asks_no_model(closed: Gateway, upstream: FaultyUpstream) -> None:
    reader = token(closed, "reader", "read")

    assert 403 == closed.chat(headers=reader).status_code
    assert 403 == closed.client.post("/api/embed", json={"model": "e"}, headers=reader).status_code
    assert 200 == closed.client.get("/api/tags", headers=reader).status_code


def test_a_token_of_other_queues_asks_no_model(closed: Gateway) -> None:
    other = token(closed, "other", "produce", queues=("builds",))

    assert 403 == closed.chat(headers=other).status_code


def test_a_job_is_visible_to_its_token_and_to_admin_only(closed: Gateway, upstream: FaultyUpstream) -> None:
    """[GATEWAY-10]"""
    upstream.next("/api/chat", Script.example(STREAM))
    ann, bob = token(closed, "ann", "read", "produce"), token(closed, "bob", "read", "produce")
    admin = token(closed, "root", "admin")
    id = closed.submit(headers=ann)
    closed.engine.wait(id, 10_000)
    for path in ("", "/answer", "/stream", "/artifacts/completion"):
        absent = closed.client.get(f"/jobs/01ARZ3NDEKTSV4RRFFQ69G5FAV{path}", headers=bob)
        hidden = closed.client.get(f"/jobs/{id}{path}", headers=bob)
        assert 404 == hidden.status_code
        assert absent.text.replace("01ARZ3NDEKTSV4RRFFQ69G5FAV", id) == hidden.text
        assert [200, 200] == [closed.client.get(f"/jobs/{id}{path}", headers=one).status_code for one in (ann, admin)]

    listed = [closed.client.get("/jobs", headers=one).json()["jobs"] for one in (ann, bob, admin)]
    assert [1, 0, 1] == [len(jobs) for jobs in listed]
    assert 404 == closed.client.delete(f"/jobs/{id}", headers=bob).status_code


def test_an_admin_of_other_queues_sees_and_asks_nothing(closed: Gateway, upstream: FaultyUpstream) -> None:
    upstream.next("/api/chat", Script.example(STREAM))
    id = closed.submit(headers=token(closed, "ann", "produce"))
    closed.engine.wait(id, 10_000)
    other = token(closed, "mailer", "admin", queues=("mail",))

    for method, path in (("GET", "/jobs"), ("GET", f"/jobs/{id}"), ("DELETE", f"/jobs/{id}"), ("POST", "/api/embed")):
        assert 403 == closed.client.request(method, path, headers=other).status_code, path


def test_a_token_that_may_only_produce_finds_its_own_job(closed: Gateway, upstream: FaultyUpstream) -> None:
    upstream.next("/api/chat", Script.example(STREAM))
    ann = token(closed, "ann", "produce")
    id = closed.submit(headers=ann)
    closed.engine.wait(id, 10_000)

    assert STREAM.body == closed.client.get(f"/jobs/{id}/answer", headers=ann).content


def test_a_key_is_one_of_its_token(closed: Gateway, upstream: FaultyUpstream) -> None:
    upstream.always("/api/chat", Script.example(STREAM))
    ann, bob = token(closed, "ann", "read", "produce"), token(closed, "bob", "read", "produce")

    ids = {closed.submit(headers={**one, "idempotency-key": "same"}) for one in (ann, bob)}

    assert 2 == len(ids)


def test_the_name_of_the_token_is_the_actor_of_the_event(closed: Gateway, upstream: FaultyUpstream) -> None:
    upstream.next("/api/chat", Script.example(STREAM))
    id = closed.submit(headers=token(closed, "ann", "produce"))

    assert "token:ann" == closed.engine.history(id)[0].actor


def test_a_token_that_is_revoked_ends_its_stream_with_an_error(closed: Gateway, upstream: FaultyUpstream) -> None:
    upstream.next("/api/chat", Script().head().send(STREAM.frames[0]))
    ann = token(closed, "ann", "produce")

    with closed.client.stream("POST", "/api/chat", json=CHAT, headers=ann) as answer:
        parts = answer.iter_raw()
        first = next(parts)
        Tokens(closed.engine).revoke("ann")
        rest = b"".join(parts)

    assert STREAM.frames[0] == first
    assert "revoked" in frames(rest)[-1]["error"]
    closed.engine.cancel(answer.headers["x-sagalog-job-id"])


# --- pages of browsers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["evil.example", "evil.example:11435", "127.0.0.1.evil.example", ""])
def test_a_name_that_is_not_the_gateways_is_refused(ollama: Gateway, host: str) -> None:
    """A page may have its own name resolve to the loopback of the one who reads it."""
    assert ollama.chat(headers={"host": host}).status_code in (400, 403)
    assert ollama.client.get("/healthz", headers={"host": host}).status_code in (400, 403)
    assert [] == ollama.tasks()


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost.evil.example"])
def test_a_page_of_another_origin_posts_nothing(ollama: Gateway, origin: str) -> None:
    answer = ollama.client.post(
        "/api/chat", content=b'{"model": "tiny"}', headers={"origin": origin, "content-type": "text/plain"}
    )

    assert (403, []) == (answer.status_code, ollama.tasks())


@pytest.mark.parametrize("origin", ["http://localhost:3000", "http://127.0.0.1", "app://obsidian.md"])
def test_a_page_of_an_origin_that_is_allowed_may_ask(tmp_path: Path, upstream: FaultyUpstream, origin: str) -> None:
    upstream.next("/api/chat", Script.example(STREAM))

    with gateway(tmp_path, upstream.url, origins=("app://*",)) as ollama:
        answer = ollama.chat(headers={"origin": origin})

    assert (200, origin) == (answer.status_code, answer.headers["access-control-allow-origin"])
    assert upstream.of("/api/chat")[0].header("origin") is None


def test_a_further_name_of_the_gateway_may_be_set(tmp_path: Path, upstream: FaultyUpstream) -> None:
    with gateway(tmp_path, upstream.url, hosts=("gpu.example",)) as ollama:
        assert 200 == ollama.client.get("/healthz", headers={"host": "gpu.example"}).status_code


# --- addresses --------------------------------------------------------------------------------------------------------


def test_another_address_needs_a_token_at_the_start(ollama: Gateway) -> None:
    settings = Settings(target=ollama.settings.target, bind="0.0.0.0:0", insecure_bind=True)

    with pytest.raises(BindRefused, match="no token exists"):
        server_of(ollama.engine, settings)


def test_another_address_needs_tls_or_a_word(closed: Gateway) -> None:
    settings = Settings(target=closed.settings.target, bind="0.0.0.0:0")

    with pytest.raises(BindRefused, match="SAGALOG_OLLAMA_INSECURE_BIND=true"):
        server_of(closed.engine, settings)


def test_no_secret_is_in_logs_or_in_the_store(
    closed: Gateway, upstream: FaultyUpstream, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    upstream.always("/api/chat", Script.error(500))
    headers = token(closed, "ann", "read", "produce")
    secret = headers["authorization"].removeprefix("Bearer ")
    caplog.set_level(0)
    closed.chat(headers=headers, messages=[{"role": "user", "content": "canary-of-the-prompt"}])
    httpx.get(f"{closed.url}/jobs?after=canary-of-the-query", headers=headers, trust_env=False)

    logged = caplog.text.replace("httpx", "")
    own = "".join(record.getMessage() for record in caplog.records if record.name.startswith("sagalog"))
    assert secret not in logged
    assert "canary" not in own
    assert all(secret.encode() not in file.read_bytes() for file in tmp_path.iterdir() if file.is_file())
