"""What the gateway reads of a request's body: the model, the runner's options, and how the answer is to come.

Rule: it only looks; the target gets the body byte for byte. Keys are compared without regard to case and the last of a
name counts, as the target reads them. A residency names what has to be loaded: the model alone does not, since the
target loads it again for other runner options.
"""

from __future__ import annotations

from collections.abc import Mapping
from email.message import Message
from email.parser import BytesParser
from email.policy import HTTP
from hashlib import sha256
from typing import Any, Final

import msgspec

from sagalog import InvalidValue

# The options for which the target loads a model again.
_RUNNER_OPTIONS: Final = (
    "num_ctx",
    "num_batch",
    "num_gpu",
    "main_gpu",
    "use_mmap",
    "num_thread",
    "draft_num_predict",
)
_MODEL_CHARACTERS_MAX: Final = 150
_TEXT_CHARACTERS_MAX: Final = 100


class Prompt(msgspec.Struct, frozen=True):
    """What counts of a request.

    model       as the client names it
    stream      whether the answer is to come in parts; None: the body does not say
    options     the runner's options among its own
    shift       whether the context may be shifted; None: the body does not say
    keep_alive  as the client gives it; absent: UNSET
    """

    model: str
    stream: bool | None = None
    options: dict[str, Any] = {}
    shift: bool | None = None
    keep_alive: msgspec.UnsetType | int | float | str | None = msgspec.UNSET

    @property
    def residency(self) -> str:
        """The name of what has to be loaded for it: the model, and a hash where runner options or `shift` are given."""
        given = {**self.options, **({} if self.shift is None else {"shift": self.shift})}
        if not given:
            return full_name(self.model)
        digest = sha256(msgspec.json.encode(given, order="deterministic")).hexdigest()
        return f"{full_name(self.model)}#{digest[:16]}"


class _Body(msgspec.Struct):
    model: str | None = None
    stream: bool | None = None
    options: dict[str, Any] | None = None
    shift: bool | None = None
    keep_alive: msgspec.UnsetType | int | float | str | None = msgspec.UNSET


def full_name(model: str) -> str:
    """Return a model's name with its tag, as the target lists it; it takes names in any case."""
    name = model.strip().removeprefix("library/").lower()
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def read_prompt(body: bytes, content_type: str) -> Prompt:
    """Look at a body, JSON or a form.

    Raises:
        InvalidValue: it is neither, it names no model, or what counts has another type; the text is for the client.
    """
    if not body:
        raise InvalidValue("missing request body", path="body")
    try:
        if content_type.partition(";")[0].strip().lower() == "multipart/form-data":
            found = msgspec.convert(_form_fields(body, content_type), _Body, strict=False)
        else:
            given = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
            named = {name.lower(): value for name, value in given.items()}
            _refuse_twice(given)
            known = {name: named[name] for name in _Body.__struct_fields__ if name in named}
            found = msgspec.json.decode(msgspec.json.encode(known), type=_Body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidValue(f"the body cannot be read: {error}", path="body") from error
    if not found.model:
        raise InvalidValue("model is required", path="model")
    if len(found.model) > _MODEL_CHARACTERS_MAX or not found.model.isprintable():
        raise InvalidValue(f"model: expected a name of at most {_MODEL_CHARACTERS_MAX} characters", path="model")
    options = found.options or {}
    runner = {name: options[name] for name in _RUNNER_OPTIONS if options.get(name) is not None}
    for name, value in (*runner.items(), ("keep_alive", found.keep_alive)):
        if isinstance(value, dict | list) or (isinstance(value, str) and len(value) > _TEXT_CHARACTERS_MAX):
            raise InvalidValue(f"{name}: expected a number, a truth or a short text", path=name)
    return Prompt(found.model, found.stream, runner, found.shift, found.keep_alive)


def _refuse_twice(given: Mapping[str, object]) -> None:
    """Refuse a body that has a field of ours in two spellings: which one counts would depend on their order."""
    spelled = [name for name in given if name.lower() in _Body.__struct_fields__]
    if len(spelled) > len({name.lower() for name in spelled}):
        raise InvalidValue(f"the body has one field in two spellings: {', '.join(sorted(spelled))}", path="body")


def _form_fields(body: bytes, content_type: str) -> dict[str, str]:
    """Return the texts of a form; its files stay where they are."""
    head = f"Content-Type: {content_type}\r\n\r\n".encode("latin-1", "replace")
    form = BytesParser(policy=HTTP).parsebytes(head + body)
    fields = {}
    for part in form.iter_parts() if form.is_multipart() else ():
        assert isinstance(part, Message)
        name = part.get_param("name", header="content-disposition")
        if name in ("model", "stream") and part.get_filename() is None:
            content = part.get_payload(decode=True)
            fields[name] = content.decode() if isinstance(content, bytes) else ""
    return fields
