"""Command: the words of a command line, the folder and the variables that it runs in, and its limits.

Rule: a `Command` that exists can be handed to the operating system; any other is refused when it is made, with the path
of the fault. Secrets are names here, never values. This module knows no process.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Annotated, Any, Final

from msgspec import Meta, Struct

from sagalog import InvalidValue
from sagalog_command.conversion import Converter, Named, Refused, Text

# What a command gets from the worker's own variables unasked: enough to be found, to find its home and to spell.
INHERITED: Final = ("HOME", "LANG", "LC_ALL", "LC_CTYPE", "LOGNAME", "PATH", "TMPDIR", "TZ", "USER")

TIME_LIMIT_MS: Final = 3_600_000
GRACE_MS: Final = 5_000
OUTPUT_BYTES_MAX: Final = 262_144

_CHARACTERS: Final = r"(?#text without halves of surrogate pairs)\A[^\ud800-\udfff]*\Z"
_VARIABLE: Final = r"(?#the name of a variable, without `=` and NUL)\A[^=\0\ud800-\udfff]+\Z"

_Variable = Annotated[str, Meta(pattern=_VARIABLE)]


class _Payload(Struct, forbid_unknown_fields=True):
    """What each field of a command may hold."""

    words: tuple[Text, ...]
    cwd: Annotated[Text, Meta(min_length=1)] | None = None
    environment: Named[_Variable, Text] = Named()
    inherit: tuple[_Variable, ...] = ()
    secrets: tuple[_Variable, ...] = ()
    input: Annotated[str, Meta(pattern=_CHARACTERS)] | None = None
    time_limit_ms: Annotated[int, Meta(ge=1, le=30 * 86_400_000)] = TIME_LIMIT_MS
    grace_ms: Annotated[int, Meta(ge=0, le=3_600_000)] = GRACE_MS
    output_bytes_max: Annotated[int, Meta(ge=0, le=64 * 1_048_576)] = OUTPUT_BYTES_MAX

    def __post_init__(self) -> None:
        if not any(self.words[:1]):
            raise Refused(".words", "names nothing to run; give the executable first")
        for number, name in enumerate(self.secrets):
            if name in self.environment:
                raise Refused(f".secrets[{number}]", "is also in environment, where its value is no secret")


@dataclass(frozen=True, slots=True)
class Command:
    """A command line, with what it is run in and within which limits.

    words             the executable and its arguments; no shell reads them
    cwd               the folder to run in, or None for the worker's own
    environment       variables to set, beside those of the worker in `INHERITED`
    inherit           names of further variables that are taken from the worker, where it has them
    secrets           names of variables that are taken from the worker, must be there, and whose values the runner
                      replaces by a mark wherever they turn up in the output
    input             what standard input holds, a text as UTF-8; without it, nothing
    time_limit_ms     how long the command may run before the runner ends it, in milliseconds; at most 30 days
    grace_ms          the milliseconds between SIGTERM and SIGKILL, for the whole process group; at most one hour
    output_bytes_max  how many bytes of each stream are kept, half from its beginning and half from its end; at most
                      64 MiB

    Raises:
        InvalidValue: the command cannot be run as it is; the field `path` names what is wrong.
    """

    words: tuple[str, ...]
    cwd: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    inherit: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    input: bytes | str | None = field(default=None, repr=False)
    time_limit_ms: int = TIME_LIMIT_MS
    grace_ms: int = GRACE_MS
    output_bytes_max: int = OUTPUT_BYTES_MAX

    def __post_init__(self) -> None:
        given = {each.name: getattr(self, each.name) for each in fields(self)}
        # Bytes are as good as text here, and JSON has none.
        payload = Converter().read(
            {**given, "input": None} if isinstance(self.input, bytes) else given, _Payload, "command"
        )
        for name in ("words", "inherit", "secrets"):
            object.__setattr__(self, name, getattr(payload, name))
        object.__setattr__(self, "environment", MappingProxyType(payload.environment))

    @classmethod
    def from_payload(cls, payload: Any, path: str = "payload") -> Command:
        """Read a command from JSON: a mapping of the fields above, of which only `words` must be there.

        Args:
            payload: the mapping.
            path: what errors call the payload.

        Raises:
            InvalidValue: the payload is no command; the field `path` names what is wrong, as in `payload.words[2]`.
        """
        found = Converter().read(payload, _Payload, path)
        return cls(**{each.name: getattr(found, each.name) for each in fields(cls)})

    def variables(self, worker: Mapping[str, str]) -> dict[str, str]:
        """Give what the process finds in its environment.

        Args:
            worker: the variables of the worker, from which those of the command are taken.

        Raises:
            InvalidValue: the worker lacks a secret; the field `path` names it.
        """
        for name in self.secrets:
            if name not in worker:
                place = f"secrets.{name}"
                raise InvalidValue(f"the worker has no variable {name}, which the command wants", path=place)
        taken = {name: worker[name] for name in (*INHERITED, *self.inherit, *self.secrets) if name in worker}
        return {**taken, **self.environment}

    def input_bytes(self) -> bytes | None:
        """Give the bytes that standard input holds, or None."""
        return self.input.encode() if isinstance(self.input, str) else self.input

    def secret_values(self, worker: Mapping[str, str]) -> dict[str, str]:
        """Give the name and the value of each secret that is not empty.

        Args:
            worker: the variables of the worker.
        """
        return {name: worker[name] for name in self.secrets if worker.get(name)}
