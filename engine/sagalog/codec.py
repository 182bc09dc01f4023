"""The codec of events: event <-> bytes, schema numbers, upcasting, and the digest of an envelope.

Rule: it refuses what it does not understand as a whole (`UnknownEvent`), and never skips or guesses it [LOG-5]. The
digest is over the very bytes that a store keeps. Knows no store and no state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final

import msgspec

from sagalog.errors import LogDamaged, UnknownEvent
from sagalog.kernel.categories import CATEGORIES, Category, Placed
from sagalog.kernel.events import NAMES, Recordable

# The schema number of each event's body. A change of a shape raises its number and adds an upcaster from the old one;
# so does a new name for a type, or two types that replace one. [LOG-6]
SCHEMAS: Final[Mapping[str, int]] = dict.fromkeys(NAMES.values(), 1)

# A type and its schema number: they determine how a body is read.
Shape = tuple[str, int]
# A body as decoded JSON -> the next shape, which may depend on the body, and the body in that shape.
Upcaster = Callable[[dict[str, Any]], tuple[Shape, dict[str, Any]]]
UPCASTERS: Final[Mapping[Shape, Upcaster]] = {}


class Shapes:
    """The events that can be written and read: those of some categories, in their present shapes and in older ones.

    A name of an event means one type, whatever the category. A schema that is not given is 1.

    Raises:
        ValueError: two types of events have one name.
    """

    def __init__(
        self,
        categories: Iterable[Category[Any]],
        schemas: Mapping[str, int] | None = None,
        upcasters: Mapping[Shape, Upcaster] | None = None,
    ) -> None:
        named = [pair for category in categories for pair in category.events.items()]
        self.names: Mapping[type[Recordable], str] = dict(named)
        self.types: Mapping[str, type[Recordable]] = {name: kind for kind, name in named}
        if len(self.types) < len(named):
            raise ValueError("two types of events have one name: an envelope would not say which it holds")
        self.schemas: Mapping[str, int] = {**dict.fromkeys(self.types, 1), **(schemas or {})}
        self.upcasters: Mapping[Shape, Upcaster] = upcasters or {}
        self.decoders = {name: msgspec.json.Decoder(kind) for name, kind in self.types.items()}


SHAPES: Final = Shapes(CATEGORIES.values(), SCHEMAS, UPCASTERS)


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """An event as the log holds it. [LOG-1]

    position          its place in the log, from 1 without gaps; 0 until it is stored
    stream            category and id, as in `task/01K…`
    version           its place in the stream, from 1 without gaps
    at_ms             when it was decided, in milliseconds since 1970 by the store's clock; the position alone gives the
                      order
    type              the event of which `body` holds the fields; no other field says so [RECORD-4]
    schema            which shape of that type the body has
    actor             the caller on record; None: the engine was opened without one [ACTOR-1]
    cause             the name of the event that led to this one
    idempotency_key   the caller's identity for the command [REPEAT-4]
    data_key          the key under which the fields of the body are encrypted; None: they are not [KEY-2]
    body              JSON text
    digest            a SHA-256 over all but the position, by which a changed event is found out [LOG-4]
    """

    position: int
    stream: str
    version: int
    at_ms: int
    type: str
    schema: int
    actor: str | None
    cause: str | None
    idempotency_key: str | None
    data_key: str | None
    body: str
    digest: bytes

    @property
    def name(self) -> str:
        """The name by which other events and people refer to this one: `task/01K…@7`."""
        return f"{self.stream}@{self.version}"


# An event as a row holds it: the fields of its envelope, with the number of its stream in place of the name.
StoredEvent = tuple[int, int, int, int, str, int, str | None, str | None, str | None, str | None, str, bytes]


class Recorded(Envelope, frozen=True):
    """An envelope with its typed event, as the log is read.

    event   the event that `body` holds, one of `sagalog.kernel.events`
    """

    event: Recordable


_encode: Final = msgspec.json.Encoder().encode


def enclose(
    stream: str,
    version: int,
    at_ms: int,
    event: Recordable,
    actor: str | None = None,
    cause: str | None = None,
    idempotency_key: str | None = None,
    shapes: Shapes = SHAPES,
) -> Envelope:
    """Put a new event into an envelope, without a position yet."""
    name = shapes.names[type(event)]
    schema = shapes.schemas[name]
    body = _encode(event)
    return Envelope(
        0,
        stream,
        version,
        at_ms,
        name,
        schema,
        actor,
        cause,
        idempotency_key,
        None,
        body.decode(),
        digest(stream, version, at_ms, name, schema, actor, cause, idempotency_key, None, body),
    )


def digest(
    stream: str,
    version: int,
    at_ms: int,
    type: str,
    schema: int,
    actor: str | None,
    cause: str | None,
    idempotency_key: str | None,
    data_key: str | None,
    body: bytes,
) -> bytes:
    """Return the SHA-256 over all of an envelope but position and digest, as `specs/digest.md` specifies. [LOG-4]

    Each field is written as its length in decimal, a colon, its UTF-8 bytes and a comma; an absent one as `-,`.
    """
    times = str(at_ms)
    key = "-," if idempotency_key is None else f"{len(idempotency_key.encode())}:{idempotency_key},"
    # No part of this may cost more than the hash itself: caches hold the text of frequent fields.
    head = (
        f"{_stream_fields(stream)}{_number_field(version)}{len(times)}:{times},{_text_field(type)}"
        f"{_number_field(schema)}{_text_field(actor)}{_text_field(cause)}{key}{_text_field(data_key)}{len(body)}:"
    )
    return sha256(b"%b%b," % (head.encode(), body)).digest()


@lru_cache(maxsize=1024)
def _number_field(value: int) -> str:
    text = str(value)
    return f"{len(text)}:{text},"


@lru_cache(maxsize=1024)
def _text_field(value: str | None) -> str:
    return "-," if value is None else f"{len(value.encode())}:{value},"


@lru_cache(maxsize=1024)
def _stream_fields(stream: str) -> str:
    """Return the fields with which the digest of every event of a stream begins."""
    category, _, id = stream.partition("/")
    return f"15:sagalog-event-2,{len(category.encode())}:{category},{len(id.encode())}:{id},"


def digest_of(envelope: Envelope) -> bytes:
    """Compute the digest of the envelope's own fields; it differs from `envelope.digest` if a field has changed."""
    return digest(
        envelope.stream,
        envelope.version,
        envelope.at_ms,
        envelope.type,
        envelope.schema,
        envelope.actor,
        envelope.cause,
        envelope.idempotency_key,
        envelope.data_key,
        envelope.body.encode(),
    )


def decode(envelope: Envelope, shapes: Shapes = SHAPES) -> Recordable:
    """Decode the typed event of an envelope in the present shape, perhaps under another name than it had. [LOG-6]

    Raises:
        UnknownEvent: unknown type or field, a newer schema than this version knows, or encrypted fields. [LOG-5]
        LogDamaged: the body is no JSON at all.

    It does not check the digest: use it for an envelope that this process has made, and `read` for one from a store.
    """
    if envelope.data_key is not None:  # [KEY-2]
        raise _unknown(envelope, f"its fields are encrypted under the key {envelope.data_key!r}")
    try:
        if envelope.schema == shapes.schemas.get(envelope.type):
            return shapes.decoders[envelope.type].decode(envelope.body)
        return _upcast(envelope, shapes)
    except msgspec.ValidationError as error:
        raise _unknown(envelope, f"its body does not fit: {error}") from error
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise LogDamaged(
            f"the body of {envelope.name} is no JSON: {error}; compare the file with a backup",
            stream=envelope.stream,
            version=envelope.version,
            type=envelope.type,
        ) from error


def is_intact(envelope: Envelope) -> bool:
    """Check whether the envelope fits its digest. [LOG-4]

    Never raises: a store may return anything from a damaged file, even fields of another type.
    """
    try:
        return digest_of(envelope) == envelope.digest
    except (TypeError, AttributeError, UnicodeError):
        return False


def read(envelope: Envelope, shapes: Shapes = SHAPES) -> Recordable:
    """Decode an envelope from a store, after a check of its digest. [LOG-4]

    Raises:
        LogDamaged: it was changed since it was written. UnknownEvent: as `decode`.
    """
    if not is_intact(envelope):
        raise LogDamaged(
            f"{envelope.stream}@{envelope.version} was changed since it was written: its digest does not fit its "
            "content; stop, keep the file, and compare it with a backup",
            stream=envelope.stream,
            version=envelope.version,
            type=envelope.type,
        )
    return decode(envelope, shapes)


def recorded(envelope: Envelope) -> Recorded:
    """Return the envelope together with its typed event; raises as `read`."""
    return Recorded(**msgspec.structs.asdict(envelope), event=read(envelope))


def recorded_log(envelopes: Iterable[Envelope], after: int, without: str | None = None) -> Iterator[Recorded]:
    """Yield events of the log behind position `after`, as `recorded`, until one is missing. [LOG-1]

    It passes over those of the category `without`, whose content it does not read.

    Raises:
        LogDamaged: another event is where one is expected. UnknownEvent, LogDamaged: as `read`.
    """
    for position, envelope in enumerate(envelopes, start=after + 1):
        if envelope.position != position:
            raise _missing(envelope, f"position {position} was expected and {envelope.position} found")
        if without is None or envelope.stream.partition("/")[0] != without:
            yield recorded(envelope)


def recorded_stream(envelopes: Iterable[Envelope]) -> Iterator[Recorded]:
    """Yield all events of one stream, as `recorded`; raises as `recorded_log`."""
    for version, envelope in enumerate(envelopes, start=1):
        if envelope.version != version:
            raise _missing(envelope, f"version {version} was expected and {envelope.version} found")
        yield recorded(envelope)


def envelope_of(stream: str, row: StoredEvent) -> Envelope:
    """Make the envelope of a row of this stream."""
    return Envelope(row[0], stream, *row[2:])


def read_rows(names: Mapping[int, str], rows: Iterable[StoredEvent], shapes: Shapes = SHAPES) -> list[Placed] | None:
    """Decode the events of many rows, each with its version and its time; `names` are those of their streams.

    None where one of them was changed, or is not of the present shape: then `read` finds out which. It takes a third of
    the time of as many calls of `read`, since it makes no envelope.
    """
    schemas, decoders = shapes.schemas, {name: decoder.decode for name, decoder in shapes.decoders.items()}
    placed: list[Placed] = []
    try:
        for _, number, version, at_ms, type, schema, actor, cause, idempotency_key, data_key, body, expected in rows:
            content = body.encode()
            if data_key is not None or schema != schemas[type]:
                return None
            if expected != digest(
                names[number], version, at_ms, type, schema, actor, cause, idempotency_key, None, content
            ):
                return None
            placed.append((decoders[type](content), version, at_ms))
    except (TypeError, AttributeError, UnicodeError, KeyError, RecursionError, msgspec.DecodeError):
        return None
    return placed


def _missing(envelope: Envelope, why: str) -> LogDamaged:
    return LogDamaged(
        f"an event before {envelope.stream}@{envelope.version} is gone: {why}; stop, keep the file, and compare it "
        "with a backup",
        stream=envelope.stream,
        version=envelope.version,
        type=envelope.type,
    )


def _upcast(envelope: Envelope, shapes: Shapes) -> Recordable:
    """Bring a body from each shape to the next, until its shape is a present one. [LOG-6]"""
    shape: Shape = (envelope.type, envelope.schema)
    if shape not in shapes.upcasters:
        raise _unknown(envelope, _why_unknown(envelope, shapes))
    body = msgspec.json.decode(envelope.body)
    while shapes.schemas.get(shape[0]) != shape[1]:
        if not isinstance(body, dict):
            raise _unknown(envelope, "its body is no object")
        upcast = shapes.upcasters[shape]
        try:
            shape, body = upcast(body)
        except (KeyError, TypeError, AttributeError) as error:
            raise _unknown(envelope, f"its body does not fit: {type(error).__name__}: {error}") from error
    return msgspec.convert(body, shapes.types[shape[0]])


def _why_unknown(envelope: Envelope, shapes: Shapes) -> str:
    numbers = [schema for type, schema in shapes.upcasters if type == envelope.type]
    known = max([*numbers, shapes.schemas.get(envelope.type, 0)])
    if not known:
        return "its type is unknown"
    return f"its schema is {envelope.schema} and this version knows up to {known}"


def _unknown(envelope: Envelope, why: str) -> UnknownEvent:
    return UnknownEvent(
        f"cannot read {envelope.name} of type {envelope.type!r}, schema {envelope.schema}: {why}; "
        "a newer sagalog may have written it: upgrade this one",
        stream=envelope.stream,
        version=envelope.version,
        type=envelope.type,
        schema=envelope.schema,
    )
