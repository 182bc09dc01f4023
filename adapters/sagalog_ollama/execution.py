"""The execution of a job: one request to the target, whose answer goes to the task's journal as it comes.

Rule: the first entry of an attempt is the answer's head, and the bytes of the target follow as they came. What the
target answers is the job's result, errors included; only where it could not be asked, or its answer broke off, is the
job tried again. [GATEWAY-6]
"""

from __future__ import annotations

import asyncio
import re
from typing import Any, Final

import msgspec

from sagalog import Permanent, Retry, Transient
from sagalog.kernel.bounds import BLOB_BYTES_MAX
from sagalog.worker import AsyncTaskJournal, AsyncWorkContext
from sagalog_ollama.dialects import EVENTS, NDJSON, StreamEnd, dialect_of, load_ms_of, text_of
from sagalog_ollama.inventory import Inventory
from sagalog_ollama.prompts import Prompt
from sagalog_ollama.residency import Residency
from sagalog_ollama.settings import Settings
from sagalog_ollama.texts import text_in
from sagalog_ollama.upstream import Unreachable, Upstream, chunks, returned_headers

KIND: Final = "ollama-request"
ANSWER: Final = "answer"
BODY: Final = "body"
COMPLETION: Final = "completion"
TEXT: Final = "text"
WAIVER: Final = "it only asks the target for an answer"

# Codes of errors, besides those of the engine itself.
UNREACHABLE: Final = "unreachable"
BROKEN_OFF: Final = "broken_off"
REFUSED: Final = "refused"
ERROR_FRAME: Final = "error_frame"
TOO_LARGE: Final = "answer_too_large"

# A request that ends its gateway so often is at fault itself.
_EXPIRIES_MAX: Final = 20

# A media type that an artifact may have.
_STORABLE: Final = re.compile(r"[ -~]{1,200}")

# What an answer may have; far beyond what a model says.
ANSWER_BYTES_MAX: Final = 67_108_864


class Request(msgspec.Struct, frozen=True):
    """The payload of a job: all of a request but its body.

    path           the route
    client         the name of the token; None: there was none
    content_type   of the body
    prompt         what counts of the body
    streams        whether the answer comes in parts
    """

    path: str
    client: str | None
    content_type: str
    prompt: Prompt
    streams: bool


class Answered(msgspec.Struct, frozen=True):
    """The result of a job: what is worth knowing of an answer. `load_ms`: how long the model was loaded for it."""

    status: int
    media_type: str
    size_bytes: int
    load_ms: int | None = None


class Head(msgspec.Struct, frozen=True):
    """The first entry of an attempt in the journal of its answer: what comes before the bytes."""

    status: int
    headers: dict[str, str]

    @property
    def media_type(self) -> str:
        """The media type of the bytes."""
        return self.headers.get("content-type", "application/octet-stream")


def retry_of(settings: Settings) -> Retry:
    """Return the budgets of a job: `attempts` where the target cannot be asked, and more where a gateway dies."""
    return Retry(
        transient_max=settings.attempts,
        expiries_max=_EXPIRIES_MAX,
        delay_min_ms=settings.retry_ms,
        delay_max_ms=max(settings.retry_ms, 60_000),
    )


class Execution:
    """The handler of jobs."""

    def __init__(self, upstream: Upstream, residency: Residency, inventory: Inventory, settings: Settings) -> None:
        self._upstream = upstream
        self._inventory = inventory
        self._residency = residency
        self._settings = settings

    async def run(self, ctx: AsyncWorkContext, request: Request) -> dict[str, Any]:
        """Ask the target, and give what is worth knowing of its answer.

        Raises:
            Transient: the target could not be asked, or its answer broke off: it is tried again.
            Permanent: the target has answered with an error.
        """
        body, journal, _ = await asyncio.gather(
            ctx.input(BODY), ctx.journal(ANSWER), self._residency.begin(request.prompt)
        )
        answer = _Answer(ctx, request, journal)
        try:
            async with (
                self._residency.kept_loaded(request.prompt) as answering,
                self._upstream.stream("POST", request.path, {"content-type": request.content_type}, body) as response,
            ):
                head = Head(response.status_code, returned_headers(response))
                answering.set()
                await answer.begin(head)
                async for part in chunks(response):
                    await answer.take(part)
            return await answer.end(head.status in self._settings.retry_statuses)
        except Unreachable as error:
            await answer.break_off()
            self._inventory.look_soon()
            raise Transient(f"the target could not be asked: {error}", code=UNREACHABLE) from error
        except Transient as error:
            if error.code == BROKEN_OFF:
                await answer.break_off()
            raise


class _Answer:
    """The answer of an attempt, which is put on record as it comes."""

    def __init__(self, ctx: AsyncWorkContext, request: Request, journal: AsyncTaskJournal) -> None:
        self._ctx = ctx
        self._request = request
        self._journal = journal
        self._head: Head | None = None
        self._end = StreamEnd(dialect_of(request.path))
        self._whole = bytearray()
        self._size_bytes = 0

    async def begin(self, head: Head) -> None:
        self._head = head
        await self._journal.append(msgspec.json.encode(head))

    async def take(self, part: bytes) -> None:
        self._size_bytes += len(part)
        if self._size_bytes > ANSWER_BYTES_MAX:
            raise Permanent(f"the answer has more than {ANSWER_BYTES_MAX:,} bytes", code=TOO_LARGE)
        await self._journal.append(part)
        if self._size_bytes <= BLOB_BYTES_MAX:
            self._whole += part
        if self._request.streams:
            self._end.take(part)

    async def break_off(self) -> None:
        """Tell those that read it now: nothing more comes of this attempt."""
        if self._head is not None:
            await self._journal.append(b"")

    async def end(self, may_try_again: bool) -> dict[str, Any]:
        """Keep the whole and its text as artifacts, and say what it was; raise what it means otherwise."""
        assert self._head is not None
        head, whole = self._head, bytes(self._whole)
        self._end.close()
        if head.status >= 400:
            raise self._refusal(head, whole, may_try_again)
        self._check(head, whole)
        if self._size_bytes <= BLOB_BYTES_MAX:
            media_type = head.media_type if _STORABLE.fullmatch(head.media_type) else "application/octet-stream"
            await self._ctx.artifact(COMPLETION, whole, media_type)
            text = text_in(whole, head.media_type.startswith((NDJSON, EVENTS)))
            if text:
                await self._ctx.artifact(TEXT, text.encode("utf-8", "replace"), "text/plain; charset=utf-8")
        load_ms = self._end.load_ms if self._request.streams else load_ms_of(whole)
        found = msgspec.structs.asdict(Answered(head.status, head.media_type, self._size_bytes, load_ms))
        return {name: value for name, value in found.items() if value is not None}

    def _refusal(self, head: Head, whole: bytes, may_try_again: bool) -> Transient | Permanent:
        text = text_of(whole) or f"the target answered {head.status}"
        details = {"status": head.status, "fence": self._ctx.fence}
        return (Transient if may_try_again else Permanent)(text, code=REFUSED, details=details)

    def _check(self, head: Head, whole: bytes) -> None:
        if self._request.streams and head.media_type.startswith((NDJSON, EVENTS)):
            if self._end.error is not None:
                raise Permanent(self._end.error, code=ERROR_FRAME, details={"fence": self._ctx.fence})
            if not self._end.is_over:
                raise Transient("the answer broke off before its last frame", code=BROKEN_OFF)
        elif self._is_cut(head, whole):
            raise Transient("the answer broke off: it is no whole JSON", code=BROKEN_OFF)

    def _is_cut(self, head: Head, whole: bytes) -> bool:
        """Whether a whole answer lacks its end, as far as that can be told."""
        is_known = self._size_bytes <= BLOB_BYTES_MAX and head.media_type.startswith("application/json")
        return is_known and not _is_json(whole)


def _is_json(body: bytes) -> bool:
    try:
        msgspec.json.decode(body, type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True
