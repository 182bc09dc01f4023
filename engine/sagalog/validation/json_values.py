"""The validation of JSON values that a caller gives: payloads, results, params, details, progress.

Rule: every store and every reader of JSON keeps, returns and compares alike what passes; anything else is
`InvalidValue`, which names the path, what was found, and what to give instead. Types are exact: a subclass (an
`IntEnum`, a `defaultdict`) would come out of the log as something else. The one exception is a whole value that is a
msgspec Struct or a dataclass: the log holds the JSON that msgspec makes of it. Knows no task, no state, no store, no
clock.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Literal, NoReturn

import msgspec

from sagalog.errors import InvalidValue
from sagalog.kernel.bounds import (
    DETAILS_BYTES_MAX,
    INTEGER_MAX,
    INTEGER_MIN,
    NESTING_MAX,
    PAYLOAD_BYTES_MAX,
    PROGRESS_BYTES_MAX,
)
from sagalog.validation.values import fault_of_text, shown, spell, type_name

_encode: Final = msgspec.json.Encoder().encode
_encode_in_order: Final = msgspec.json.Encoder(order="deterministic").encode

# The bounds on a JSON value, as refusals name them.
_BYTES: Final = {
    PAYLOAD_BYTES_MAX: "payload_bytes",
    PROGRESS_BYTES_MAX: "progress_bytes",
    DETAILS_BYTES_MAX: "details_bytes",
}


# How much of a value that is too large is searched for another fault: a walk in Python, item by item.
_SEARCHED_BYTES: Final = 1_048_576


def check_json(value: object, path: str, bytes_max: int = PAYLOAD_BYTES_MAX) -> msgspec.Raw | None:
    """Refuse a value that JSON or one of the stores would not return exactly as it is. [BOUND-1]

    Accepted are None, bool, int of 64 signed bits, finite float, str, list, and dict with str keys, of
    exactly these types, at most `NESTING_MAX` lists and dicts inside one another (a cycle ends there too),
    without NUL characters and lone surrogates; and a msgspec Struct or a dataclass of which `as_json` makes that.

    Args:
        value: what the caller wants to store.
        path: its name in errors: `payload` gives paths like `payload.items[3].name`.
        bytes_max: the most that it may take as JSON, in bytes of UTF-8.

    Returns:
        The very bytes that were checked. The event gets them as they are, so that it holds no later change by the
        caller; None for None.

    Raises:
        InvalidValue: its field `path` is the path of an offending value; what is too large has `bound` and `maximum`.
    """
    if value is None:
        return None
    encoded = _sound(value, bytes_max)
    if not encoded:
        # Only a value that is no JSON gets here, so JSON does not pay for it.
        made = as_json(value, path)
        encoded = encoded if made is value else _sound(made, bytes_max)
        if not encoded:
            _refuse_json(made, path, bytes_max, is_over=encoded is False)
    return msgspec.Raw(encoded)


def as_json(value: object, path: str) -> Any:
    """Return the JSON that msgspec makes of a msgspec Struct or a dataclass; any other value as it is.

    One inside a list or a dict of the caller's stays as it is, and so is refused later: a search for it would cost
    every caller.

    Raises:
        InvalidValue: msgspec makes nothing of what it holds.
    """
    if type(value) is dict or not (isinstance(value, msgspec.Struct) or hasattr(type(value), "__dataclass_fields__")):
        return value
    try:
        return _with_lists(msgspec.to_builtins(value, str_keys=True))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidValue(
            f"{path} is of type {type_name(value)}, of which no JSON can be made: {error}; give a dict", path=path
        ) from error


def _with_lists(made: Any) -> Any:
    """Give what msgspec has made with a list for each tuple: it leaves tuples as they are, and makes lists of sets."""
    if isinstance(made, dict):
        return {key: _with_lists(item) for key, item in made.items()}
    return [_with_lists(item) for item in made] if isinstance(made, list | tuple) else made


def _sound(value: object, bytes_max: int) -> bytes | Literal[False] | None:
    """Return the JSON of what `check_json` accepts, else None; False where the count of its parts alone is too large.

    Every create calls it: it builds no path, no reason.
    """
    # Every entry, item and character costs at least a byte of JSON. The count before any encoding ends the work early,
    # also for a few parts that refer to one another so often that they unfold without end.
    budget = bytes_max
    # Level by level: the depth is the number of rounds, so neither nesting nor a cycle can exhaust the stack.
    level: list[Any] = [value] if type(value) is dict or type(value) is list else [[value]]
    for _ in range(NESTING_MAX):
        below: list[Any] = []
        for container in level:
            budget -= len(container)
            if budget < 0:
                return False
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
    return _sound_encoded(value, bytes_max) if budget >= 0 else False


def _sound_encoded(value: object, bytes_max: int) -> bytes | None:
    """Check texts and size in the encoded form: one pass in C over all of them."""
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


def _refuse_json(value: object, path: str, bytes_max: int, is_over: bool) -> NoReturn:
    """Refuse the value that `_sound` rejected, with the path of its fault; without one it is too large as a whole."""
    # Of what is too large in any case, only the beginning is searched for a fault of its own.
    budget = min(bytes_max, _SEARCHED_BYTES) if is_over else bytes_max
    # The walk through each open list or dict, outermost first, and the last step of each.
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
            place = spell(steps)
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
    # To encode a value that has used up its budget could take any time and memory.
    size = f"{len(_encode(value)):,}" if budget >= 0 and not is_over else f"more than {bytes_max:,}"
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
            place = spell(steps)
            found = f"{shown(key)} ({type_name(key)})"
            raise InvalidValue(f"{place} has the key {found}; give keys of type str", path=place)
        fault = fault_of_text(key)
        if fault is not None:
            place = spell([*steps, key])
            raise InvalidValue(f"{place} has a key that {fault}", path=place)


def _fault_of(item: object, containers: int) -> str | None:
    """Describe what is wrong with one value itself, and never quote it, since payloads may hold secrets."""
    if type(item) is str:
        return fault_of_text(item)
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
    return f"is of type {type_name(item)}; {_advice_for(type(item))}"


# The advice for types, by their full names, so that nothing is imported only to refuse it.
# The first line that names the type or one of its bases decides: an IntEnum is an Enum before it is an int.
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


def canonical(value: object) -> bytes:
    """Return the one JSON form of a value that `check_json` accepts: keys sorted by their UTF-8, no blanks.

    Two values have equal bytes exactly if they are equal in content and types: 1, 1.0 and True differ, the
    order of keys does not count. Use it only to compare and derive: stores digest the bytes that they keep.
    """
    return _encode_in_order(value)
