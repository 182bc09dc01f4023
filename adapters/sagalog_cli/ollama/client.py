"""A client of a gateway for the shell: it submits requests and asks about jobs, over HTTP.

Rule: it knows only what a gateway answers. Address and token come from where Ollama's own clients take them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Final
from urllib.parse import quote

import msgspec

try:
    import httpx
except ImportError as error:
    raise ImportError('sagalog ollama needs httpx: pip install "sagalog[ollama]"') from error

from sagalog import Conflict, NotFound, Rejected, SagalogError, Unavailable, Unknown
from sagalog_ollama.dialects import text_of

ADDRESS: Final = "http://127.0.0.1:11435"

# What to do next, where the advice of the branch would name a store.
_OTHER: Final = "--url or OLLAMA_HOST names another gateway"
_NO_JOB: Final = f"`sagalog ollama jobs` shows the jobs that the token may see; {_OTHER}"
_NO_MODEL: Final = f"look at the name, or pull the model; {_OTHER}"
_UNKNOWN_CALLER: Final = "--token or OLLAMA_API_KEY gives a token of the gateway, with the scope that the message names"


class Client:
    """A connection to a gateway; a context manager.

    Args:
        address: the gateway's URL, as in `http://127.0.0.1:11435`.
        token: a token of the gateway; None: it needs none.

    Raises:
        Unavailable: the gateway does not answer, or is busy: wait and repeat.
        Unknown: it has died after it had got a request, which it may have taken up.
        NotFound: there is no such job or model. Conflict: the idempotency key is on record with another request.
        Rejected: the gateway refuses the request, or it is none; the text says why.
    """

    def __init__(self, address: str = ADDRESS, token: str | None = None) -> None:
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        self._client = httpx.Client(
            base_url=address, headers=headers, timeout=httpx.Timeout(None, connect=10), trust_env=False
        )
        self._address = address

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def submit(self, path: str, body: Mapping[str, Any], key: str | None = None) -> dict[str, Any]:
        """Have a request taken up, without waiting for its answer, and return its job."""
        headers = {b"prefer": b"respond-async", **_keyed(key)}
        return self._json("POST", path, json=dict(body), headers=headers)

    def stream(self, path: str, body: Mapping[str, Any], key: str | None = None) -> Iterator[dict[str, Any]]:
        """Send a request and give the frames of its answer as they come; an error among them is raised."""
        try:
            with self._client.stream("POST", path, json=dict(body), headers=_keyed(key)) as response:
                if response.status_code >= 400:
                    response.read()
                self._require(response, path)
                for line in response.iter_lines():
                    if not line.strip():
                        continue
                    frame = self._decoded(line)
                    if "error" in frame:
                        raise self._failed(str(frame["error"]), response.headers.get("x-sagalog-job-id"))
                    yield frame
        except httpx.TransportError as error:
            raise self._away(error, "POST") from error

    def jobs(self, limit: int) -> list[dict[str, Any]]:
        """Return the newest jobs, newest first."""
        found: list[dict[str, Any]] = self._json("GET", "/jobs", params={"limit": limit})["jobs"]
        return found

    def job(self, id: str) -> dict[str, Any]:
        """Return one job."""
        return self._json("GET", f"/jobs/{quote(id, safe='')}")

    def answer(self, id: str) -> bytes:
        """Return the answer of a job that has ended."""
        return self._sent("GET", f"/jobs/{quote(id, safe='')}/answer").content

    def cancel(self, id: str) -> dict[str, Any]:
        """Call a job off."""
        return self._json("DELETE", f"/jobs/{quote(id, safe='')}")

    def loaded(self) -> list[dict[str, Any]] | None:
        """Return the models that the target has loaded; None: the gateway has not seen it yet."""
        try:
            found: list[dict[str, Any]] = self._json("GET", "/api/ps")["models"] or []
        except Unavailable:
            # One that cannot be reached at all says so here too.
            self.health()
            return None
        return found

    def health(self) -> dict[str, Any]:
        """Return whether the gateway is degraded."""
        return self._json("GET", "/healthz")

    def _json(self, method: str, path: str, **given: Any) -> dict[str, Any]:
        return self._decoded(self._sent(method, path, **given).content)

    def _decoded(self, text: bytes | str) -> dict[str, Any]:
        try:
            return msgspec.json.decode(text, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self._no_gateway() from error

    def _sent(self, method: str, path: str, **given: Any) -> httpx.Response:
        try:
            response = self._client.request(method, path, **given)
        except httpx.TransportError as error:
            raise self._away(error, method) from error
        self._require(response, path)
        return response

    def _require(self, response: httpx.Response, path: str) -> None:
        status = response.status_code
        if status < 300:
            return
        if status < 400:
            raise self._no_gateway()
        text = f"{self._address}: {_problem_of(response.content)} (status {status})"
        is_job = path.startswith("/jobs")
        if status in (401, 403):
            raise Rejected(text, hint=_UNKNOWN_CALLER)
        if status == 410 and not is_job:
            raise NotFound(text, hint="repeat the command with another --idempotency-key, or with none")
        if status in (404, 410):
            raise NotFound(text, hint=_NO_JOB if is_job else _NO_MODEL)
        if status == 409 and not is_job:
            raise Conflict(text, hint="another request has this idempotency key: give this one another")
        raise (Unavailable if status >= 500 or status == 429 else Rejected)(text)

    def _failed(self, problem: str, id: str | None) -> SagalogError:
        """Return the error of an answer that has begun: it has a status only at its job."""
        status = None if id is None else self.job(id).get("status")
        kind = Rejected if isinstance(status, int) and status < 500 else Unavailable
        return kind(f"{self._address}: {problem}", **({} if id is None else {"job": id}))

    def _no_gateway(self) -> Rejected:
        return Rejected(f"{self._address} answers something else than a gateway: look at the address", hint=_OTHER)

    def _away(self, error: httpx.TransportError, method: str) -> SagalogError:
        if method == "POST" and not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return Unknown(
                f"{self._address} has ended the connection: {error}; it may have taken the request up",
                hint="`sagalog ollama jobs` shows it then; repeat the command with the same --idempotency-key",
            )
        return Unavailable(
            f"{self._address} does not answer: {error}", hint=f"`sagalog ollama serve` runs a gateway; {_OTHER}"
        )


def _keyed(key: str | None) -> dict[bytes, bytes]:
    return {} if key is None else {b"idempotency-key": key.encode()}


def _problem_of(body: bytes) -> str:
    try:
        found = msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return text_of(body)
    detail = found.get("detail")
    return detail if isinstance(detail, str) else text_of(body)
