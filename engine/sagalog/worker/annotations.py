"""The annotations of handlers and steps: which value of the user's own type the worker makes of recorded JSON.

Rule: it resolves an annotation when the user registers the function, and refuses one that it cannot use. JSON that is
annotated as JSON stays as it is. [WORKER-6] It must not know tasks and leases.
"""

from __future__ import annotations

import functools
import inspect
import re
import sys
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from types import UnionType
from typing import Any, Final, TypeVar, Union
from weakref import WeakKeyDictionary

import msgspec
from msgspec import inspect as shapes

from sagalog.errors import InvalidValue
from sagalog.kernel.bounds import NAME_CHARACTERS_MAX
from sagalog.outcomes import StepMismatch

if sys.version_info >= (3, 14):
    from annotationlib import Format, get_annotations

_OTHERWISE: Final = "annotate it with a msgspec Struct, a dataclass, a TypedDict, a type of JSON, or not at all"
_BEFORE: Final = "define or import what it names at the top of its module, before that handler"
# The place in a message of msgspec, as in "Expected `int`, got `str` - at `$.count`".
_PLACE: Final = re.compile(r" - at `(.+)`\Z", re.DOTALL)
_RECORDS: Final = (shapes.StructType, shapes.DataclassType)
# The types of JSON itself, and those as which a user may annotate it.
_OF_JSON: Final = (Any, object, type(None), bool, int, float, str, list, dict, Mapping, MutableMapping, Sequence)
_MAPPINGS: Final = (dict, Mapping, MutableMapping)
_CONTAINERS: Final = (list, Sequence, Iterable, Union, UnionType)

_returned: Final[WeakKeyDictionary[Callable[..., Any], Conversion | None]] = WeakKeyDictionary()


class Unfit(Exception):
    """Recorded JSON that gives no value of a type: `message` says why, and `path` where (`$.count`)."""

    def __init__(self, message: str, path: str) -> None:
        super().__init__(message)
        self.message = message
        self.path = path


class Conversion(msgspec.Struct, frozen=True):
    """The conversion of recorded JSON to a value of a type.

    name    the name of the type, for people
    """

    type: Any
    name: str

    def of(self, recorded: Any) -> Any:
        """Make the value; raises Unfit."""
        try:
            return msgspec.convert(recorded, self.type, str_keys=True)
        except msgspec.ValidationError as error:
            message = str(error)
            place = _PLACE.search(message)
            raise Unfit(message, "$" if place is None else place[1]) from error


def of_given(function: Callable[..., Any], what: str) -> Conversion | None:
    """Return the conversion for the second argument of `function`; None: it takes JSON as it is.

    Args:
        function: a function, a method, a partial, or a callable object.
        what: what the user calls it, such as `task 'book'`.

    Raises:
        InvalidValue: the annotation cannot be resolved, or JSON gives no value of it. It names the parameter.
    """
    parameter = _second_parameter(function)
    if parameter is None or parameter.annotation is inspect.Parameter.empty:
        return None
    try:
        resolved = _resolved(parameter.annotation, function)
        return None if _is_json(resolved) else _conversion_to(resolved)
    except (NameError, AttributeError, TypeError, ValueError, SyntaxError) as error:
        advice = _BEFORE if isinstance(error, NameError | AttributeError) else _OTHERWISE
        raise InvalidValue(
            f"{what}: the annotation {_spelled(parameter.annotation)} of the parameter {parameter.name!r} of "
            f"{_spelled(_innermost(function))} cannot be used: {error}; {advice}",
            path=parameter.name,
        ) from error


def read_back(function: Callable[..., Any], name: str, recorded: Any) -> Any:
    """Return a step's recorded result as its handler gets it: the Struct or dataclass that `function` returns, if any.

    The attempt that has run the step gets the same, so no later attempt gets anything else. [STEP-1]

    Raises:
        StepMismatch: the result gives no value of that type.
    """
    if type(recorded) is not dict and type(recorded) is not list:
        return recorded
    conversion = _of_returned(function)
    if conversion is None:
        return recorded
    try:
        return conversion.of(recorded)
    except Unfit as unfit:
        raise StepMismatch(
            f"the result of step {name!r} that is on record is no {conversion.name}: {unfit.message}; let the type of "
            "its function take what earlier versions have put on record, or give the step a new name"
        ) from unfit


def _of_returned(function: Callable[..., Any]) -> Conversion | None:
    """Return the conversion to the Struct or dataclass that a function returns; look each function up once."""
    innermost = _innermost(function)
    try:
        if innermost not in _returned:
            _returned[innermost] = _look_up_returned(innermost)
        return _returned[innermost]
    except TypeError:
        # Some callables allow no weak reference.
        return _look_up_returned(innermost)


def _look_up_returned(function: Callable[..., Any]) -> Conversion | None:
    """Return the conversion; None: the function names no such type, or one that cannot be resolved."""
    try:
        annotation = _annotations_of(function).get("return")
        if annotation is None:
            return None
        resolved = _resolved(annotation, function)
        if _is_json(resolved):
            return None
        shape = shapes.type_info(resolved)
        named = shape.types if isinstance(shape, shapes.UnionType) else (shape,)
        return _conversion_to(resolved) if any(isinstance(one, _RECORDS) for one in named) else None
    except (NameError, AttributeError, TypeError, ValueError, SyntaxError):
        return None


def _conversion_to(resolved: Any) -> Conversion:
    """Return the conversion to a type; raises TypeError, NameError if msgspec has none."""
    # A new decoder checks the type as a whole, as every conversion to it will.
    msgspec.json.Decoder(resolved)
    for part in _parts(shapes.type_info(resolved)):
        if isinstance(part, shapes.CustomType) and part.cls is not object:
            raise TypeError(f"no value of {_spelled(part.cls)} can be made of JSON")
    return Conversion(resolved, _spelled(resolved))


def _is_json(annotation: Any, within: tuple[Any, ...] = ()) -> bool:
    """Tell whether an annotation names only types of JSON; the worker neither checks nor converts such values."""
    if any(annotation is one for one in within):
        return True
    behind = getattr(annotation, "__value__", None) or getattr(annotation, "__supertype__", None)
    if behind is not None:
        # A name for a type: `type Json = …`, or a NewType.
        return _is_json(behind, (*within, annotation))
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in _MAPPINGS:
        return parts[0] in (str, Any, object) and _is_json(parts[1], within)
    if origin in _CONTAINERS:
        return all(_is_json(part, within) for part in parts)
    # A reference that is left here names the type around it; all others were resolved, or refused.
    return annotation in _OF_JSON or isinstance(annotation, typing.ForwardRef | TypeVar)


def _parts(shape: shapes.Type) -> Iterator[shapes.Type]:
    """Yield the type and all its parts, each once: a type may contain itself."""
    waiting: list[Any] = [shape]
    seen: set[int] = set()
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, shapes.Type):
            yield one
        for name in one.__struct_fields__:
            value = getattr(one, name)
            inner = value if isinstance(value, tuple) else (value,)
            waiting += [each for each in inner if isinstance(each, shapes.Type | shapes.Field)]


# --- functions --------------------------------------------------------------------------------------------------------


def _second_parameter(function: Callable[..., Any]) -> inspect.Parameter | None:
    try:
        parameters = _signature(function).parameters.values()
    except (TypeError, ValueError):
        # Some functions in C have no signature.
        return None
    placed = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    return placed[1] if len(placed) > 1 else None


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    """Return the signature for a call; a name that is not defined yet stays a name."""
    if sys.version_info >= (3, 14):
        return inspect.signature(function, annotation_format=Format.FORWARDREF)
    return inspect.signature(function)


def _annotations_of(function: Any) -> dict[str, Any]:
    """Return the annotations as written; a name that is not defined yet stays a name."""
    if sys.version_info >= (3, 14):
        return get_annotations(function, format=Format.FORWARDREF)
    found: dict[str, Any] = getattr(function, "__annotations__", {})
    return found


def _resolved(annotation: Any, function: Callable[..., Any]) -> Any:
    """Resolve an annotation in the module of its function; text in it is read as Python reads it."""

    def carrier() -> None:
        """Carry the one annotation: those beside it need not be there at all."""

    carrier.__annotations__ = {"given": annotation}
    innermost = _innermost(function)
    names = getattr(innermost, "__globals__", None)
    if names is None:
        names = vars(sys.modules.get(getattr(innermost, "__module__", ""), typing))
    return typing.get_type_hints(carrier, names, include_extras=True)["given"]


def _innermost(function: Any) -> Any:
    """Return the function that `inspect.signature` describes, in partials, methods, decorators and callable objects."""
    while True:
        if isinstance(function, functools.partial):
            function = function.func
        elif inspect.ismethod(function):
            function = function.__func__
        elif hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        elif isinstance(function, type) or hasattr(function, "__globals__"):
            return function
        else:
            called = getattr(type(function), "__call__", None)  # noqa: B004  the function is wanted, not whether it is
            if not hasattr(called, "__globals__") and not hasattr(called, "__wrapped__"):
                return function
            function = called


def _spelled(named: Any) -> str:
    """Return the name of a type, a function or an annotation, short and printable enough for the log."""
    module, name = getattr(named, "__module__", None), getattr(named, "__qualname__", None)
    is_plain = isinstance(named, type) and not typing.get_args(named)
    text = named if isinstance(named, str) else repr(named)
    if isinstance(name, str) and (is_plain or callable(named)) and not typing.get_args(named):
        text = name if module == "builtins" else f"{module}.{name}"
    return "".join(each if each.isprintable() else "?" for each in text)[:NAME_CHARACTERS_MAX]
