"""The door: whatever a caller gives is checked here, before any state is read.

Rule: what passes is stored, given back and compared alike by every store and every reader of JSON; anything else is
`InvalidValue`, which names the argument or the path, what was found, and what to give instead. Types are exact: a
subclass (an `IntEnum`, a `defaultdict`) would come out of the log as something else. This file looks at values only: it
knows no task, no state, no store, no clock.
"""

from __future__ import annotations

import hashlib
import json
import reprlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NoReturn, TypeGuard

import msgspec

from sagalog.errors import InvalidValue
from sagalog.kernel.bounds import (
    DETAILS_BYTES_MAX,
    ID_CHARACTERS_MAX,
    INTEGER_MAX,
    INTEGER_MIN,
    NAME_CHARACTERS_MAX,
    NESTING_MAX,
    PAYLOAD_BYTES_MAX,
    PROGRESS_BYTES_MAX,
    TAGS_MAX,
    TIME_MS_MAX,
)

_encode: Final = msgspec.json.Encoder().encode
_encode_in_order: Final = msgspec.json.Encoder(order="deterministic").encode

# 64 bits: a task holds some hundred compensations, so two different ones never meet by chance.
_DIGEST_CHARACTERS: Final = 16
_ELLIPSIS: Final = "…"
_SHOWN_CHARACTERS_MAX: Final = 80

# The bounds on a JSON value, as refusals name them.
_BYTES: Final = {
    PAYLOAD_BYTES_MAX: "payload_bytes",
    PROGRESS_BYTES_MAX: "progress_bytes",
    DETAILS_BYTES_MAX: "details_bytes",
}


# --- JSON ---------------------------------------------------------------------------------------------------


def check_json(value: object, path: str, bytes_max: int = PAYLOAD_BYTES_MAX) -> msgspec.Raw | None:
    """Refuse a value that JSON or one of the stores would not give back exactly as it is. [BOUND-1]

    Accepted are None, bool, int of 64 signed bits, finite float, str, list, and dict with str keys, of
    exactly these types, at most `NESTING_MAX` lists and dicts inside one another (a cycle ends there too),
    without NUL characters and lone surrogates.

    Args:
        value: what is to be stored.
        path: what the caller calls it: `payload` gives paths like `payload.items[3].name`.
        bytes_max: the most that it may take as JSON, in bytes of UTF-8.

    Returns:
        The very bytes that were checked, to be put into an event as they are, so that nothing the caller changes
        afterwards is stored; None for None.

    Raises:
        InvalidValue: its field `path` is the path of an offending value; what is too large has `bound` and `maximum`.
    """
    if value is None:
        return None
    encoded = _sound(value, bytes_max)
    if encoded is None:
        _refuse_json(value, path, bytes_max)
    return msgspec.Raw(encoded)


def _sound(value: object, bytes_max: int) -> bytes | None:
    """The JSON of what `check_json` accepts, else None. Every create passes here: it builds no path and says no why."""
    # Every entry, item and character costs at least a byte of JSON. Counted down before anything is encoded,
    # that ends the work early also for a few parts that name one another so often that they unfold without end.
    budget = bytes_max
    # Level by level: depth is the number of rounds, and neither nesting nor a cycle can exhaust the stack.
    level: list[Any] = [value] if type(value) is dict or type(value) is list else [[value]]
    for _ in range(NESTING_MAX):
        below: list[Any] = []
        for container in level:
            budget -= len(container)
            if budget < 0:
                return None
            if type(container) is dict:
                for key in container:
                    if type(key) is not str:
                        return None
                    budget -= len(key)
                container = container.values()
            for item in container:
                kind = type(item)
                if kind is str:
                    budget -= len(item)
                elif kind is int:
                    if not INTEGER_MIN <= item <= INTEGER_MAX:
                        return None
                elif kind is dict or kind is list:
                    below.append(item)
                elif kind is float:
                    if item - item != 0.0:  # NaN, for NaN and for both infinities
                        return None
                elif item is not None and kind is not bool:
                    return None
        if not below:
            break
        level = below
    else:
        return None
    return _sound_encoded(value, bytes_max) if budget >= 0 else None


def _sound_encoded(value: object, bytes_max: int) -> bytes | None:
    """Look at texts and size in the encoded form: one pass in C over all of them."""
    try:
        encoded = _encode(value)
    except UnicodeEncodeError:  # a lone surrogate
        return None
    if len(encoded) > bytes_max:
        return None
    # The text `\u0000` spelled out has the same six bytes behind one more backslash; then look at each text.
    clean = b"\\u0000" not in encoded or all("\0" not in text for text in _texts(value))
    return encoded if clean else None


def _texts(value: object) -> Iterator[str]:
    waiting: list[Any] = [value]
    while waiting:
        item = waiting.pop()
        if type(item) is str:
            yield item
        elif type(item) is list:
            waiting.extend(item)
        elif type(item) is dict:
            yield from item
            waiting.extend(item.values())


def _refuse_json(value: object, path: str, bytes_max: int) -> NoReturn:
    """Find what `_sound` saw, with its path; what has no fault of its own is too large as a whole."""
    budget = bytes_max
    # The walk through each open list or dict, outermost first, and the step that each of them has taken last.
    walks: list[Iterator[tuple[str | int, Any]]] = [iter([(path, value)])]
    steps: list[str | int] = [path]
    while walks and budget >= 0:
        taken = next(walks[-1], None)
        if taken is None:
            walks.pop()
            steps.pop()
            continue
        steps[-1], item = taken
        if type(item) is str:
            budget -= len(item)
        fault = _fault_of(item, containers=len(walks) - 1)
        if fault is not None:
            place = _spell(steps)
            raise InvalidValue(f"{place} {fault}", path=place)
        if type(item) is dict:
            _refuse_keys(item, steps)
            budget -= len(item) + sum(map(len, item))
            walks.append(iter(item.items()))
            steps.append(0)
        elif type(item) is list:
            budget -= len(item)
            walks.append(enumerate(item))
            steps.append(0)
    # Encoding a value that has used up its budget could take any time and memory.
    size = f"{len(_encode(value)):,}" if budget >= 0 else f"more than {bytes_max:,}"
    raise InvalidValue(
        f"{path} takes {size} bytes as JSON, and at most {bytes_max:,} are kept; "
        "store what is large elsewhere and give its name",
        path=path,
        bound=_BYTES.get(bytes_max, "bytes"),
        maximum=bytes_max,
    )


def _refuse_keys(container: dict[Any, Any], steps: list[str | int]) -> None:
    for key in container:
        if type(key) is not str:
            place = _spell(steps)
            found = f"{shown(key)} ({_type_name(key)})"
            raise InvalidValue(f"{place} has the key {found}; give keys of type str", path=place)
        fault = _fault_of_text(key)
        if fault is not None:
            place = _spell([*steps, key])
            raise InvalidValue(f"{place} has a key that {fault}", path=place)


def _fault_of(item: object, containers: int) -> str | None:
    """What is wrong with one value itself; described, never quoted, since payloads may hold secrets."""
    if type(item) is str:
        return _fault_of_text(item)
    if type(item) is int:
        if INTEGER_MIN <= item <= INTEGER_MAX:
            return None
        return f"is an int of {item.bit_length()} bits, outside -2**63 to 2**63 - 1; give it as str"
    if type(item) is float:
        return None if item - item == 0.0 else f"is {item}, which JSON does not know; give None or a str"
    if type(item) is list or type(item) is dict:
        if containers < NESTING_MAX:
            return None
        return f"lies inside {NESTING_MAX} lists and dicts, or in a cycle; give something flatter"
    if item is None or type(item) is bool:
        return None
    return f"is of type {_type_name(item)}; {_advice_for(type(item))}"


def _fault_of_text(text: str) -> str | None:
    if "\0" in text:
        return f"contains a NUL character at index {text.index(chr(0))}; remove it, or give bytes as base64"
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            found = f"{ord(text[error.start]):#06x} at index {error.start}"
            return f"contains the lone surrogate {found}; give text that UTF-8 can encode"
    return None


def _spell(steps: Iterable[str | int]) -> str:
    """The path as one would write it: `payload.items[3]["odd key"]`."""
    root, *others = steps
    pieces = [str(root)]
    for step in others:
        if isinstance(step, int):
            pieces.append(f"[{step}]")
        elif step.isidentifier() and len(step) <= _SHOWN_CHARACTERS_MAX:
            pieces.append(f".{step}")
        else:
            key = cut_text(step, _SHOWN_CHARACTERS_MAX)
            pieces.append(f"[{json.dumps(key, ensure_ascii=not key.isprintable())}]")
    return "".join(pieces)


# What to give instead, and the types it is said of, by full name: nothing is imported only to refuse it.
# The first that names the type or one of its bases decides: an IntEnum is an Enum before it is an int.
_ADVICE: Final = (
    ("give its .value", {"enum.Enum"}),
    ("give a list", {"builtins.tuple", "builtins.set", "builtins.frozenset", "collections.deque"}),
    ("give text, decoded or as base64", {"builtins.bytes", "builtins.bytearray", "builtins.memoryview"}),
    ("give its .tolist()", {"numpy.ndarray", "numpy.generic"}),
    *((f"give exactly {kind}", {f"builtins.{kind}"}) for kind in ("str", "int", "float", "list", "dict")),
    ("give its milliseconds as int", {"datetime.timedelta"}),
    ("give its .isoformat(), or milliseconds since 1970 as int", {"datetime.date"}),
    ("give its .isoformat()", {"datetime.time"}),
    ("give str of it", {"decimal.Decimal", "fractions.Fraction", "uuid.UUID"}),
    ("give str of it", {"pathlib.PurePath", "pathlib._local.PurePath"}),
    ("give a dict", {"builtins.mappingproxy", "collections.abc.Mapping"}),
    ("give msgspec.to_builtins of it", {"msgspec.Struct"}),
    ("give its .model_dump(mode='json')", {"pydantic.main.BaseModel"}),
)


def _advice_for(kind: type) -> str:
    bases = {f"{base.__module__}.{base.__qualname__}" for base in kind.__mro__}
    for advice, names in _ADVICE:
        if not names.isdisjoint(bases):
            return advice
    if hasattr(kind, "__dataclass_fields__"):
        return "give dataclasses.asdict of it"
    return "give None, bool, int, float, str, list or dict"


# --- Arguments ----------------------------------------------------------------------------------------------


def check_text(value: object, name: str, characters_max: int) -> str:
    """Return free text (a reason, a note), cut to `characters_max`; line breaks are welcome. [BOUND-1]

    Raises:
        InvalidValue: no str, or one with a NUL character or a lone surrogate in the part that is kept.
    """
    if type(value) is not str:
        _refuse(name, "text (str)", value)
    text = cut_text(value, characters_max)
    fault = _fault_of_text(text)
    if fault is not None:
        raise InvalidValue(f"{name} {fault}", path=name)
    return text


def cut_text(value: str, characters_max: int) -> str:
    """Return `value`; if it is longer than `characters_max` (1 or more), its beginning and an ellipsis."""
    if len(value) <= characters_max:
        return value
    return value[: characters_max - 1] + _ELLIPSIS


def check_name(value: object, name: str) -> str:
    """Return a name (of a kind, queue, owner, ...): 1 to `NAME_CHARACTERS_MAX` printable characters.

    Raises:
        InvalidValue: anything else; line breaks and lone surrogates are not printable, a space is.
    """
    if not _is_printable(value, 1, NAME_CHARACTERS_MAX):
        _refuse(name, f"a str of 1 to {NAME_CHARACTERS_MAX} printable characters", value)
    return value


def check_id(value: object, name: str) -> str:
    """Return a caller's task id: 1 to `ID_CHARACTERS_MAX` printable characters.

    Raises:
        InvalidValue: anything else.
    """
    if not _is_printable(value, 1, ID_CHARACTERS_MAX):
        _refuse(name, f"a str of 1 to {ID_CHARACTERS_MAX} printable characters", value)
    return value


def check_integer(value: object, name: str, minimum: int, maximum: int) -> int:
    """Return an integer from `minimum` to `maximum`, both included; a bool is none.

    Raises:
        InvalidValue: anything else.
    """
    if type(value) is not int or not minimum <= value <= maximum:
        _refuse(name, f"an int from {minimum} to {maximum}", value)
    return value


def check_milliseconds(value: object, name: str) -> int:
    """Return a time or a duration in whole milliseconds, 0 to `TIME_MS_MAX`.

    Raises:
        InvalidValue: anything else, floats and datetimes too.
    """
    if type(value) is not int or not 0 <= value <= TIME_MS_MAX:
        _refuse(name, f"whole milliseconds, an int from 0 to {TIME_MS_MAX}", value)
    return value


def check_tags(value: object) -> dict[str, str]:
    """Return a task's tags as a new dict, sorted by name: at most `TAGS_MAX`, from names to printable text.

    A tag's text may be empty; tasks are searched by it, so a long one is refused and never cut.

    Raises:
        InvalidValue: not such a mapping; its field `path` is `tags`, or like `tags.name` for a text.
    """
    if type(value) is not dict and not isinstance(value, Mapping):
        _refuse("tags", "a mapping of str to str", value)
    if len(value) > TAGS_MAX:
        raise InvalidValue(f"tags: expected at most {TAGS_MAX}, found {len(value)}", path="tags")
    tags = {check_name(name, "tags"): text for name, text in value.items()}
    for name, text in tags.items():
        if not _is_printable(text, 0, NAME_CHARACTERS_MAX):
            place = _spell(("tags", name))
            _refuse(place, f"a str of at most {NAME_CHARACTERS_MAX} printable characters", text)
    return dict(sorted(tags.items()))


def _is_printable(value: object, characters_min: int, characters_max: int) -> TypeGuard[str]:
    return type(value) is str and characters_min <= len(value) <= characters_max and value.isprintable()


def _refuse(name: str, expected: str, value: object) -> NoReturn:
    kind = _type_name(value)
    if type(value) is str:
        kind += f" of {len(value):,} characters"
    raise InvalidValue(f"{name}: expected {expected}, found {shown(value)} ({kind})", path=name)


def _type_name(value: object) -> str:
    return cut_text(type(value).__qualname__, _SHOWN_CHARACTERS_MAX)


def shown(value: object) -> str:
    """What was found, in at most 80 printable characters; never raises, whatever it is."""
    if type(value) is int and value.bit_length() > 256:  # Python refuses to spell out the very long ones
        return f"an int of {value.bit_length():,} bits"
    if type(value) is str or type(value) is bytes:
        value = value[: _SHOWN_CHARACTERS_MAX + 1]
    try:
        text = _brief.repr(value)
    except Exception:  # noqa: BLE001  a foreign __repr__ may raise anything
        text = "a value without a repr"
    printable = "".join(character if character.isprintable() else " " for character in text)
    return cut_text(printable, _SHOWN_CHARACTERS_MAX)


_brief: Final = reprlib.Repr()
_brief.maxstring = _brief.maxother = 2 * _SHOWN_CHARACTERS_MAX


# --- Comparing ----------------------------------------------------------------------------------------------


def canonical(value: object) -> bytes:
    """Return the one JSON form of a value that `check_json` accepts: keys sorted by their UTF-8, no blanks.

    Two values have equal bytes exactly if they are equal in content and types: 1, 1.0 and True differ, the
    order of keys does not count. For comparing and deriving only: stores digest the bytes that they keep.
    """
    return _encode_in_order(value)


def child_id(parent: str, name: str) -> str:
    """The id of the child that a task creates under a name, the same at every attempt. [STEP-2]"""
    id = f"{parent}/{name}"
    if len(id) <= ID_CHARACTERS_MAX:
        return id
    return f"{id[:100]}…{hashlib.sha256(id.encode()).hexdigest()}"


def compensation_id(kind: str, params: object) -> str:
    """Return the id of a compensation that was given none: the same undo has the same, for ever. [REPEAT-3]

    It is the kind, a colon, and 16 hexadecimal digits of SHA-256 over the canonical JSON of `[kind, params]`,
    as in `remove-worktree:1ef6ac403fcbb699`. Of a very long kind only the beginning shows: an id is a name.
    """
    digest = hashlib.sha256(canonical([kind, params])).hexdigest()[:_DIGEST_CHARACTERS]
    return f"{cut_text(kind, NAME_CHARACTERS_MAX - _DIGEST_CHARACTERS - 1)}:{digest}"
