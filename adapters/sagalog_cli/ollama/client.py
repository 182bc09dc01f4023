"""A client of a gateway for the shell: it submits requests and asks about jobs, over HTTP.

Rule: it knows only what a gateway answers. Address and token come from where Ollama's own clients take them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Final

import httpx
import msgspec

from sagalog import NotFound, Rejected, Unavailable
from sagalog_ollama.dialects import text_of

ADDRESS: Final = "http://127.0.0.1:11435"


class Client:
    """A connection to a gateway; a context manager.

    Args:
        address: the gateway's, as in `http://127.0.0.1:11435`, or a host and a port alone.
        token: a token of the gateway; None: it needs none.

    Raises:
        Unavailable: the gateway does not answer, or is busy: wait and repeat.
        NotFound: there is no such job or model. Rejected: the gateway refuses the request; the text says why.
    """

    def __init__(self, address: str = ADDRESS, token: str | None = None) -> None:
        base = address if "://" in address else f"http://{address}"
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        try:
            self._client = httpx.Client(
                base_url=base, headers=headers, timeout=httpx.Timeout(None, connect=10), trust_env=False
            )
        except httpx.InvalidURL as error:
            raise Rejected(f"{address!r} is no address of a gateway: {error}") from error
        self._address = base

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def submit(self, path: str, body: Mapping[str, Any], key: str | None = None) -> dict[str, Any]:
        """Have a request taken up, without waiting for its answer, and return its job."""
        headers = {"prefer": "respond-async", **({} if key is None else {"idempotency-key": key})}
        return self._json("POST", path, json=dict(body), headers=headers)

    def stream(self, path: str, body: Mapping[str, Any], key: str | None = None) -> Iterator[dict[str, Any]]:
        """Send a request and give the frames of its answer as they come."""
        headers = {} if key is None else {"idempotency-key": key}
        try:
            with self._client.stream("POST", path, json=dict(body), headers=headers) as response:
                if response.status_code >= 400:
                    response.read()
                self._require(response)
                for line in response.iter_lines():
                    yield msgspec.json.decode(line, type=dict[str, Any])
        except httpx.TransportError as error:
            raise self._away(error) from error

    def jobs(self, limit: int) -> list[dict[str, Any]]:
        """Return the newest jobs, newest first."""
        found: list[dict[str, Any]] = self._json("GET", "/jobs", params={"limit": limit})["jobs"]
        return found

    def job(self, id: str) -> dict[str, Any]:
        """Return one job."""
        return self._json("GET", f"/jobs/{id}")

    def answer(self, id: str) -> bytes:
        """Return the answer of a job that has ended."""
        return self._sent("GET", f"/jobs/{id}/answer").content

    def cancel(self, id: str) -> dict[str, Any]:
        """Call a job off."""
        return self._json("DELETE", f"/jobs/{id}")

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
        content = self._sent(method, path, **given).content
        try:
            return msgspec.json.decode(content, type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise Rejected(f"{self._address} answers something else than a gateway: look at the address") from error

    def _sent(self, method: str, path: str, **given: Any) -> httpx.Response:
        try:
            response = self._client.request(method, path, **given)
        except httpx.TransportError as error:
            raise self._away(error) from error
        self._require(response)
        return response

    def _require(self, response: httpx.Response) -> None:
        status = response.status_code
        if status < 400:
            return
        problem = _problem_of(response.content)
        text = f"{self._address}: {problem} (status {status})"
        if status == 404:
            raise NotFound(text)
        raise (Unavailable if status >= 500 or status == 429 else Rejected)(text)

    def _away(self, error: Exception) -> Unavailable:
        return Unavailable(
            f"{self._address} does not answer: {error}; `sagalog ollama serve` runs a gateway, and --url or "
            "OLLAMA_HOST names another one"
        )


def _problem_of(body: bytes) -> str:
    try:
        found = msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return text_of(body)
    detail = found.get("detail")
    return detail if isinstance(detail, str) else text_of(body)
