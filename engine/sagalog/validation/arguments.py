"""The validation of arguments that several calls share: lists of names, failures, compensations, policies, bytes.

Rule: a refusal names the argument, and the element inside it. Knows no command, no state and no store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sized
from hashlib import sha256
from itertools import islice
from typing import Any, Final, TypeVar, get_args

from sagalog.errors import InvalidValue, OverBound
from sagalog.kernel import bounds
from sagalog.kernel.values import Compensation, Failure, Input, Parameters, Retry, Spent
from sagalog.sentences import SENTENCES
from sagalog.store import Blob
from sagalog.validation.identities import compensation_id
from sagalog.validation.json_values import as_json, check_json
from sagalog.validation.values import check_integer, check_milliseconds, check_name, check_text, cut_text, shown

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., object])

_SPENT: Final = get_args(Spent)


def taken_in(inputs: Mapping[str, bytes] | None) -> tuple[tuple[Input, ...], tuple[Blob, ...]]:
    """Check a creation's inputs; return how the command names them, and their bytes. Raises InvalidValue, OverBound."""
    if not inputs:
        return (), ()
    if not isinstance(inputs, Mapping):
        raise InvalidValue(f"inputs: expected a mapping of names to bytes, found {shown(inputs)}", path="inputs")
    if len(inputs) > bounds.INPUTS_MAX:
        raise OverBound(
            f"inputs: at most {bounds.INPUTS_MAX}, found {len(inputs)}; pack several into one",
            bound="inputs",
            maximum=bounds.INPUTS_MAX,
        )
    blobs = [blob(data, f"inputs.{check_name(name, 'inputs')}") for name, data in inputs.items()]
    named = zip(inputs, blobs, strict=True)
    return tuple(Input(name, one.digest, len(one.data)) for name, one in named), tuple(blobs)


def blob(data: bytes, name: str) -> Blob:
    """Check bytes and compute their digest; raises InvalidValue, OverBound."""
    if not isinstance(data, bytes):
        raise InvalidValue(f"{name}: expected bytes, found {shown(data)}", path=name)
    if len(data) > bounds.BLOB_BYTES_MAX:
        raise OverBound(
            f"{name}: {len(data)} bytes, and the bound is {bounds.BLOB_BYTES_MAX}; keep it beside the store and name "
            "its place",
            bound="blob_bytes",
            maximum=bounds.BLOB_BYTES_MAX,
        )
    return Blob(sha256(data).hexdigest(), data)


def ttl(ttl_ms: int | None) -> int | None:
    """Check how long a lease lasts, at least a millisecond; None: without end, or as before for a heartbeat."""
    return None if ttl_ms is None else check_integer(ttl_ms, "ttl_ms", 1, bounds.TIME_MS_MAX // 2)


def failure(error: str | Failure, name: str) -> Failure:
    """Make a failure of a sentence, or check a whole `Failure`.

    The text is often that of an exception: it is cleaned and not refused, since what ends a lease must always fit.
    [BOUND-3]
    """
    if isinstance(error, Failure):
        check_name(error.code, f"{name}.code")
        details = check_json(error.details, f"{name}.details", bounds.DETAILS_BYTES_MAX)
        parameters = _parameters(error.parameters, f"{name}.parameters")
        limit = None if error.limit is None else check_name(error.limit, f"{name}.limit")
        if error.message == "" and (parameters is not None or error.code in SENTENCES):
            # [RECORD-6] Readers see the sentence that the engine makes of the code.
            return Failure(error.code, "", details, parameters, limit)
        return Failure(error.code, _cleaned(error.message, f"{name}.message"), details, parameters, limit)
    return Failure("error", _cleaned(error, name))


def _parameters(given: Parameters | None, name: str) -> Parameters | None:
    """Check the parameters of a code of the engine: names, numbers and lists of names. [RECORD-6]"""
    for key, value in ({} if given is None else given).items():
        check_name(key, name)
        for one in value if isinstance(value, tuple) else (value,):
            if type(one) is not int or isinstance(value, tuple):
                check_name(one, f"{name}.{key}")
            else:
                check_integer(one, f"{name}.{key}", bounds.INTEGER_MIN, bounds.INTEGER_MAX)
    return given or None


def _cleaned(text: str, name: str) -> str:
    if type(text) is not str:
        check_text(text, name, bounds.TEXT_CHARACTERS_MAX)
    kept = cut_text(text, bounds.TEXT_CHARACTERS_MAX).encode("utf-8", "replace").decode().replace("\0", "?")
    return kept if kept.strip() else "(no message)"


def names(given: Iterable[str] | None, name: str) -> frozenset[str] | None:
    """Check a set of names, of kinds mostly; None stays None and means every one."""
    if given is None:
        return None
    advice = "use several calls, or name none to mean every one"
    return frozenset(check_name(one, name) for one in listed(given, name, bounds.KINDS_MAX, advice))


def listing(given: str | Iterable[str], name: str, maximum: int) -> tuple[str, ...]:
    """Check one name or several, and return each once, in the order given."""
    is_one = isinstance(given, str)
    if not is_one and not isinstance(given, Iterable):
        raise InvalidValue(f"{name}: expected a text or a list of texts, found {shown(given)}", path=name)
    found = [given] if is_one else listed(given, name, maximum, "use several calls")
    if not found:
        raise InvalidValue(f"{name}: expected 1 to {maximum} names, found none", path=name)
    return tuple(dict.fromkeys(check_name(one, name) for one in found))


def one_of(value: T, name: str, words: tuple[object, ...]) -> T:
    """Check a word of a closed set; raises InvalidValue."""
    if value not in words:
        raise InvalidValue(f"{name}: expected one of {', '.join(map(repr, words))}, found {shown(value)}", path=name)
    return value


def compensations_of(given: Iterable[Compensation]) -> tuple[Compensation, ...]:
    """Check compensations, each under an id of its own; raises InvalidValue, OverBound."""
    if type(given) is tuple and not given:
        return ()
    advice = "one may undo several effects"
    found = listed(given, "compensations", bounds.COMPENSATIONS_MAX, advice)
    checked = tuple(compensation_of(one, f"compensations[{index}]") for index, one in enumerate(found))
    ids = [one.id for one in checked]
    if len(set(ids)) != len(ids):
        twice = sorted({str(id) for id in ids if ids.count(id) > 1})
        raise InvalidValue(
            f"compensations: {twice} are given more than once; to run one undo twice, give each an id of its own",
            path="compensations",
        )
    return checked


def compensation_of(given: Compensation, path: str) -> Compensation:
    """Check one compensation and give it its id if it has none; raises InvalidValue."""
    if not isinstance(given, Compensation):
        raise InvalidValue(f"{path}: expected a Compensation, found {type(given).__name__}", path=path)
    check_name(given.kind, f"{path}.kind")
    params = check_json(given.params, f"{path}.params", bounds.DETAILS_BYTES_MAX)
    if given.id is None:
        id = compensation_id(given.kind, as_json(given.params, f"{path}.params"))
    else:
        id = check_name(given.id, f"{path}.id")
    return Compensation(given.kind, params, optional_text(given.reason, f"{path}.reason"), id)


def policy_of(retry: Retry) -> Retry:
    """Check a policy; raises InvalidValue."""
    if not isinstance(retry, Retry):
        raise InvalidValue(f"retry: expected a Retry, found {type(retry).__name__}", path="retry")
    for name in ("attempts_max", "transient_max", "expiries_max", "releases_max", "undo_attempts_max"):
        if getattr(retry, name) is not None:
            check_integer(getattr(retry, name), f"retry.{name}", 1, bounds.BUDGET_MAX)
    for name in ("quota_wait_max_ms", "undo_wait_ms"):
        if getattr(retry, name) is not None:
            check_milliseconds(getattr(retry, name), f"retry.{name}")
    check_integer(retry.delay_min_ms, "retry.delay_min_ms", 0, bounds.TIME_MS_MAX // 4)
    check_integer(retry.delay_max_ms, "retry.delay_max_ms", retry.delay_min_ms, bounds.TIME_MS_MAX // 4)
    one_of(retry.spent, "retry.spent", _SPENT)
    return retry


def several(given: Iterable[Any], name: str) -> Iterable[Any]:
    """Check that several values are given; refuse a lone str, which would be taken apart into its letters."""
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        raise InvalidValue(f"{name}: expected a list, found {shown(given)}", path=name)
    return given


def listed(given: Iterable[Any], name: str, maximum: int, advice: str) -> list[Any]:
    """Take at most `maximum` values, and no more than one too many: a generator may never end. [BOUND-1]

    Raises:
        InvalidValue: no list. OverBound: too many; `advice` is what to do instead.
    """
    taken = list(islice(several(given, name), maximum + 1))
    if len(taken) > maximum:
        found = f"{len(given):,}" if isinstance(given, Sized) else "more"
        raise OverBound(f"{name}: at most {maximum:,}, found {found}; {advice}", path=name, bound=name, maximum=maximum)
    return taken


def many_leases(given: Iterable[Any]) -> list[Any]:
    """Check the leases to renew in one commit."""
    return listed(given, "leases", bounds.BATCH_COMMANDS_MAX, "renew them in several calls")


def optional_text(given: str | None, name: str) -> str | None:
    """Check free text, cut to its bound, or None."""
    return None if given is None else check_text(given, name, bounds.TEXT_CHARACTERS_MAX)


def sentence(given: str, name: str) -> str:
    """Check text that must not be blank."""
    text = check_text(given, name, bounds.TEXT_CHARACTERS_MAX)
    if not text.strip():
        raise InvalidValue(f"{name}: expected a sentence, found blanks only", path=name)
    return text


def optional_sentence(given: str | None, name: str) -> str | None:
    """Text that must say something, or None."""
    return None if given is None else sentence(given, name)


def check_truth(given: bool, name: str) -> bool:
    """Check that it is True or False, and not a value that only counts as one; raises InvalidValue."""
    if type(given) is not bool:
        raise InvalidValue(f"{name}: expected True or False, found {shown(given)}", path=name)
    return given


def optional_function(given: F | None, name: str) -> F | None:
    """Something to be called, or None; raises InvalidValue."""
    if given is not None and not callable(given):
        raise InvalidValue(f"{name}: expected a function, found {shown(given)}", path=name)
    return given


def optional_name(given: str | None, name: str) -> str | None:
    """Check a name, or None."""
    return None if given is None else check_name(given, name)


def optional_time(run_at_ms: int | None) -> int | None:
    """Check the due time of a next try, in milliseconds since 1970, or None."""
    return None if run_at_ms is None else check_milliseconds(run_at_ms, "run_at_ms")


def optional_duration(retry_after_ms: int | None) -> int | None:
    """Check the least delay before a next try, in milliseconds, or None."""
    return None if retry_after_ms is None else check_milliseconds(retry_after_ms, "retry_after_ms")
