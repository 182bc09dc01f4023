"""The validation of a task's place in its caller's traces: W3C Trace Context.

Rule: every system that follows the recommendation accepts what passes; the engine corrects nothing, since the caller
would then look for another trace than is on record. [TRACE-1] Knows no task and no store.
"""

from __future__ import annotations

import re
from typing import Final

from sagalog.errors import InvalidValue
from sagalog.kernel.bounds import TRACESTATE_CHARACTERS_MAX, TRACESTATE_MEMBERS_MAX
from sagalog.validation.values import check_name, shown

_ZERO_FREE: Final = r"(?!0+-)"
# A later version may append more behind one more hyphen.
_TRACEPARENT: Final = re.compile(
    rf"(?!ff)([0-9a-f]{{2}})-{_ZERO_FREE}[0-9a-f]{{32}}-{_ZERO_FREE}[0-9a-f]{{16}}-[0-9a-f]{{2}}(-.*)?", re.ASCII
)
_KEY: Final = r"(?:[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})"
_VALUE: Final = r"[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
_MEMBER: Final = re.compile(rf"({_KEY})={_VALUE}")


def check_traceparent(value: object, name: str) -> str:
    """Return a traceparent: lower-case hexadecimal, neither id all zeros.

    Version 00 must match as a whole; a later version as far as the recommendation promises it, and it may continue
    behind a hyphen.

    Raises:
        InvalidValue: anything else.
    """
    text = check_name(value, name)
    found = _TRACEPARENT.fullmatch(text)
    if found is None or (found.group(1) == "00" and found.group(2) is not None):
        raise InvalidValue(
            f"{name}: expected a W3C traceparent, as in 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01, in "
            f"lower case and with no id of zeros only, found {shown(text)}",
            path=name,
        )
    return text


def check_tracestate(value: object, name: str, traceparent: str | None) -> str:
    """Return a tracestate, which needs a traceparent beside it: at most 32 members, and 512 characters.

    Raises:
        InvalidValue: anything else, such as two members of one key.
    """
    if traceparent is None:
        raise InvalidValue(f"{name}: a tracestate needs the traceparent that it belongs to; give trace too", path=name)
    if type(value) is not str or not 1 <= len(value) <= TRACESTATE_CHARACTERS_MAX:
        raise InvalidValue(
            f"{name}: expected a str of 1 to {TRACESTATE_CHARACTERS_MAX} characters, found {shown(value)}", path=name
        )
    # An empty member is allowed, and so are blanks around one.
    members = [one for part in value.split(",") if (one := part.strip(" \t"))]
    if not 1 <= len(members) <= TRACESTATE_MEMBERS_MAX:
        raise InvalidValue(
            f"{name}: expected 1 to {TRACESTATE_MEMBERS_MAX} members, found {len(members)}; leave out the last ones",
            path=name,
        )
    keys = set()
    for member in members:
        found = _MEMBER.fullmatch(member)
        if found is None:
            raise InvalidValue(
                f"{name}: expected members of the form key=value, as in vendor=opaque, found {shown(member)}", path=name
            )
        if found.group(1) in keys:
            raise InvalidValue(f"{name}: expected each key once, found {found.group(1)!r} twice", path=name)
        keys.add(found.group(1))
    return value
