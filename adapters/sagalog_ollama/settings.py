"""Settings of the gateway: a file and the environment -> one checked value.

Rule: each setting is one field here; its key in the file is its name, and its variable is the name in capitals behind
`SAGALOG_OLLAMA_`, which wins over the file. A wrong value, and a key that is no setting, is refused at the start by the
name under which it was given.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, get_args, get_origin
from urllib.parse import urlsplit

import msgspec

from sagalog import InvalidValue
from sagalog.kernel.bounds import BLOB_BYTES_MAX, TIME_MS_MAX
from sagalog_http.origins import Origins

PREFIX: Final = "SAGALOG_OLLAMA_"
# Every route that can make the target load a chat model: one that is left out swaps models behind the queue's back.
QUEUE_PATHS: Final = (
    "/api/chat",
    "/api/generate",
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/responses",
    "/v1/messages",
    "/v1/audio/transcriptions",
)

_UNITS_MS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION: Final = re.compile(r"([0-9]{1,12})(ms|s|m|h|d)")


class Secret(str):
    """A text that no representation shows."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'…'"


def _key(field: str) -> str:
    """Return the name under which a field is given: a length of time carries its unit itself."""
    return field.removesuffix("_ms")


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename=_key):
    """All that an operator sets of a gateway; a length of time is given without `_ms`, as in `ttl = "24h"`.

    target            the address of Ollama, without a path
    target_token      the bearer token that the target wants; None: none
    bind              where the gateway listens; another address than loopback only with tokens
    insecure_bind     whether that may be without TLS, since a proxy in front has it
    queue_paths       the routes whose requests wait in the queue; others of `QUEUE_PATHS` pass through
    embedding_model   the model that is loaded at the start and whenever the target comes back; None: none
    poll_interval_ms  how often the inventory is read
    attempts          how many times a request is tried where the target cannot be reached
    retry_statuses    answers of the target that are tried again; all others from 400 on end the request
    retry_ms          the first pause before another try
    silence_ms        how long the target may send nothing before the attempt has failed
    affinity_wait_ms  how long a request may wait while those of the resident model go first; 0: for ever
    pin_ms            how long the resident model is kept loaded while requests wait for it
    lease_ms          how long a request is held by a gateway that died before another takes it up
    early_ms          when a stream that waits is begun with frames that say nothing, and how often such a frame comes
    abandoned_ms      when a request without a reader is cancelled; None: it is kept
    loading_max_ms    how long the target may be loading a model before the gateway calls itself degraded
    ttl_ms            how long the bodies and the answers of requests are kept after their end
    body_bytes_max    how large a request may be
    waiting_max       how many requests may wait; further ones get 503
    hosts             names under which the gateway may be asked, besides those of loopback
    origins           web pages that may ask, in the form of OLLAMA_ORIGINS, besides those of loopback
    grace_ms          how long a request that runs may go on after SIGTERM
    """

    target: str = "http://127.0.0.1:11434"
    target_token: Secret | None = None
    bind: str = "127.0.0.1:11435"
    insecure_bind: bool = False
    queue_paths: tuple[str, ...] = QUEUE_PATHS
    embedding_model: str | None = None
    poll_interval_ms: int = 30_000
    attempts: int = 3
    retry_statuses: tuple[int, ...] = ()
    retry_ms: int = 1_000
    silence_ms: int = 600_000
    affinity_wait_ms: int = 60_000
    pin_ms: int = 600_000
    lease_ms: int = 10_000
    early_ms: int = 15_000
    abandoned_ms: int | None = None
    loading_max_ms: int = 600_000
    ttl_ms: int = 86_400_000
    body_bytes_max: int = BLOB_BYTES_MAX
    waiting_max: int = 10_000
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    grace_ms: int = 30_000

    def __post_init__(self) -> None:
        for name, (least, most) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise _refusal(_key(name), f"expected {least} to {most}, found {value}")
        _check_target(self.target)
        address_of(self.bind)
        for path in self.queue_paths:
            if path not in QUEUE_PATHS:
                raise _refusal(
                    "queue_paths", f"{path!r} is no route that can wait; these can: {', '.join(QUEUE_PATHS)}"
                )
        _check_origins(self.hosts, self.origins)
        token = self.target_token
        if token is not None and not (token.isascii() and token.isprintable() and " " not in token):
            raise _refusal("target_token", "expected letters, digits and signs of ASCII, as a header can hold them")
        for status in self.retry_statuses:
            if not 400 <= status <= 599:
                raise _refusal("retry_statuses", f"expected statuses from 400 to 599, found {status}")

    @property
    def queue(self) -> str:
        """The queue of the target, the same for every gateway in front of it. It holds no secret."""
        parts = urlsplit(self.target)
        return f"ollama:{parts.hostname}:{parts.port or {'http': 80, 'https': 443}[parts.scheme]}"


_KINDS: Final[Mapping[str, Any]] = {one.encode_name: one.type for one in msgspec.structs.fields(Settings)}

_LENGTHS: Final = frozenset(one.encode_name for one in msgspec.structs.fields(Settings) if one.name.endswith("_ms"))

_RANGES: Final[Mapping[str, tuple[int, int]]] = {
    "poll_interval_ms": (100, 86_400_000),
    "attempts": (1, 1_000),
    "retry_ms": (1, 86_400_000),
    "silence_ms": (100, 7 * 86_400_000),
    "affinity_wait_ms": (0, 7 * 86_400_000),
    "pin_ms": (1_000, 86_400_000),
    "lease_ms": (300, 3_600_000),
    "early_ms": (50, 3_600_000),
    "abandoned_ms": (0, 7 * 86_400_000),
    "loading_max_ms": (1_000, 86_400_000),
    "ttl_ms": (1_000, TIME_MS_MAX),
    "body_bytes_max": (1, BLOB_BYTES_MAX),
    "waiting_max": (1, 10_000_000),
    "grace_ms": (0, 86_400_000),
}


def read_settings(environment: Mapping[str, str], file: Path | None = None) -> Settings:
    """Make the settings of a file and of the environment, which wins.

    Args:
        environment: variables; those that do not begin with the prefix are no settings.
        file: TOML, with the settings by their names; None: there is none.

    Raises:
        InvalidValue: the file cannot be read, a value does not fit, or there is no such setting; it says which.
    """
    given = {} if file is None else _of_file(file)
    _check(given, f"{file}: ", str)
    variables = {
        name.removeprefix(PREFIX).lower(): text for name, text in environment.items() if name.startswith(PREFIX)
    }
    texts = {name: _split(name, text) for name, text in variables.items()}
    _check(texts, PREFIX, str.upper)
    return _made({**given, **texts})


def address_of(bind: str) -> tuple[str, int]:
    """Take `host:port` or `[::1]:port` apart.

    Raises:
        InvalidValue: it has another form.
    """
    host, _, port = bind.rpartition(":")
    is_bracketed = host.startswith("[") and host.endswith("]")
    bare = host[1:-1] if is_bracketed else host
    if not bare or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65_535 or (":" in bare) != is_bracketed:
        raise _refusal("bind", f"expected an address like 127.0.0.1:11435 or [::1]:11435, found {bind!r}")
    return bare, int(port)


def _of_file(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidValue(f"the settings in {file} cannot be read: {error}; correct or leave out the file") from error


def _split(name: str, text: str) -> object:
    """Return what a variable holds: a list is separated by commas, and an empty text is no value where none may be."""
    kind = _KINDS.get(name)
    if get_origin(kind) is tuple:
        return [part.strip() for part in text.split(",") if part.strip()]
    return None if text == "" and type(None) in get_args(kind) else text


def _check(given: Mapping[str, Any], prefix: str, spelled: Callable[[str], str]) -> None:
    """Refuse the first value that does not fit, by the name under which it was given."""
    for name, value in given.items():
        if name not in _KINDS:
            raise InvalidValue(f"{prefix}{spelled(name)}: there is no such setting; these are: {', '.join(_KINDS)}")
        try:
            _made({name: value})
        except (msgspec.ValidationError, InvalidValue) as error:
            text = str(error).removeprefix(f"{name}: ").split(" - at ")[0]
            raise InvalidValue(f"{prefix}{spelled(name)}: {text}", path=name) from None


def _made(given: Mapping[str, Any]) -> Settings:
    values = {name: _milliseconds(value) if name in _LENGTHS else value for name, value in given.items()}
    return msgspec.convert(values, Settings, strict=False, dec_hook=lambda _, text: Secret(msgspec.convert(text, str)))


def _milliseconds(given: object) -> int | None:
    """Read a length of time, whose unit is part of it."""
    if given is None or given in (0, "0"):
        return None if given is None else 0
    found = _DURATION.fullmatch(given) if isinstance(given, str) else None
    if found is None:
        raise InvalidValue(f"expected a length of time like 500ms, 30s, 10m or 24h, found {given!r}")
    return int(found[1]) * _UNITS_MS[found[2]]


def _check_target(target: str) -> None:
    text = f"expected an address like http://127.0.0.1:11434, found {target!r}"
    try:
        parts = urlsplit(target)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        raise _refusal("target", text) from error
    if parts.username is not None or parts.password is not None:
        raise _refusal("target", "a name or a password has no place in it; give the token as target_token")
    if not is_address or parts.path.strip("/") or parts.query or parts.fragment:
        raise _refusal("target", text)


def _check_origins(hosts: tuple[str, ...], origins: tuple[str, ...]) -> None:
    for name, given in (("hosts", (hosts, ())), ("origins", ((), origins))):
        try:
            Origins(*given)
        except ValueError as error:
            raise _refusal(name, str(error)) from error


def _refusal(name: str, text: str) -> InvalidValue:
    return InvalidValue(f"{name}: {text}", path=name)
