"""What is run: the words of a command line, where, with which variables, and within which limits.

Rule: a `Command` that exists can be handed to the operating system; every other is refused when it is made, with the
path of what is wrong. Secrets are names here, never values. Knows nothing of processes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, Final

from sagalog import InvalidValue
from sagalog_command import checking

# What a command gets from the worker's own variables unasked: enough to be found, to find its home and to spell.
INHERITED: Final = ("HOME", "LANG", "LC_ALL", "LC_CTYPE", "LOGNAME", "PATH", "TMPDIR", "TZ", "USER")

TIME_LIMIT_MS: Final = 3_600_000
GRACE_MS: Final = 5_000
OUTPUT_BYTES_MAX: Final = 262_144

_TIME_LIMIT_MS_MAX: Final = 30 * 86_400_000
_GRACE_MS_MAX: Final = 3_600_000
_OUTPUT_BYTES_BOUND: Final = 64 * 1_048_576


@dataclass(frozen=True, slots=True)
class Command:
    """A command line, with what it is run in and within which limits.

    words             the executable and its arguments; no shell reads them
    cwd               the folder to run in, or None for the worker's own
    environment       variables to set, beside those of the worker in `INHERITED`
    inherit           names of further variables that are taken from the worker, where it has them
    secrets           names of variables that are taken from the worker, must be there, and whose values are replaced by
                      a mark wherever they turn up in the output
    input             what standard input holds, a text as UTF-8; without it, nothing
    time_limit_ms     how long it may run before it is ended, in milliseconds; 30 days at most
    grace_ms          how long between SIGTERM and SIGKILL, for the whole process group, in milliseconds
    output_bytes_max  how many bytes of each stream are kept, half from the beginning and half from the end; 64 MiB at
                      most

    Raises:
        InvalidValue: it cannot be run as it is; the field `path` names what is wrong.
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
        self._check("command")

    def _check(self, path: str) -> None:
        _set(self, "words", checking.texts(self.words, f"{path}.words"))
        if not self.words or not self.words[0]:
            raise InvalidValue(f"{path}.words names nothing to run; give the executable first", path=f"{path}.words")
        if self.cwd is not None and not checking.text(self.cwd, f"{path}.cwd"):
            raise InvalidValue(f"{path}.cwd is empty; leave it out for the worker's own folder", path=f"{path}.cwd")
        environment = checking.mapping(self.environment, f"{path}.environment")
        for name, value in environment.items():
            checking.variable(name, f"{path}.environment.{name}")
            checking.text(value, f"{path}.environment.{name}")
        _set(self, "environment", MappingProxyType(dict(environment)))
        for part in ("inherit", "secrets"):
            names = checking.texts(getattr(self, part), f"{path}.{part}")
            _set(self, part, tuple(checking.variable(name, f"{path}.{part}[{i}]") for i, name in enumerate(names)))
        for number, name in enumerate(self.secrets):
            if name in self.environment:
                place = f"{path}.secrets[{number}]"
                raise InvalidValue(f"{place} is also in environment, where its value is no secret", path=place)
        if isinstance(self.input, str):
            checking.whole_characters(self.input, f"{path}.input")
        elif self.input is not None and not isinstance(self.input, bytes):
            checking.refuse(f"{path}.input", "a text", self.input)
        checking.whole(self.time_limit_ms, f"{path}.time_limit_ms", 1, _TIME_LIMIT_MS_MAX)
        checking.whole(self.grace_ms, f"{path}.grace_ms", 0, _GRACE_MS_MAX)
        checking.whole(self.output_bytes_max, f"{path}.output_bytes_max", 0, _OUTPUT_BYTES_BOUND)

    @classmethod
    def from_payload(cls, payload: Any, path: str = "payload") -> Command:
        """Read a command from JSON: a mapping of the fields above, of which only `words` must be there.

        Args:
            payload: the mapping.
            path: what the mapping is called in errors.

        Raises:
            InvalidValue: it is no command; the field `path` names what is wrong, as in `payload.words[2]`.
        """
        given = checking.mapping(payload, path)
        checking.known(given, [each.name for each in fields(cls)], path)
        if "words" not in given:
            raise InvalidValue(f"{path}.words is missing; give the executable and its arguments", path=f"{path}.words")
        for name in ("words", "environment", "inherit", "secrets", "time_limit_ms", "grace_ms", "output_bytes_max"):
            if name in given and given[name] is None:
                checking.refuse(f"{path}.{name}", "a value, or leave it out", None)
        command = object.__new__(cls)
        for each in fields(cls):
            default = each.default_factory() if callable(each.default_factory) else each.default
            _set(command, each.name, given.get(each.name, default))
        command._check(path)
        return command

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

    def given(self) -> bytes | None:
        """Give what standard input holds, if anything."""
        return self.input.encode() if isinstance(self.input, str) else self.input

    def secret_values(self, worker: Mapping[str, str]) -> dict[str, str]:
        """Give name and value of each secret that says anything at all.

        Args:
            worker: the variables of the worker.
        """
        return {name: worker[name] for name in self.secrets if worker.get(name)}


def _set(command: Command, name: str, value: object) -> None:
    object.__setattr__(command, name, value)
