"""The ids of tasks, in the text form of ULIDs: 48 bits of milliseconds, then 80 of entropy, in 26 characters.

Rule: the ids of one generator differ, and sort in the order in which they were made, whatever the clock does
and however many threads ask; a fork never repeats those of its parent. Entropy separates the ids of generators.
Knows no clock and no entropy of its own: time is an argument, entropy a function.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from typing import Final

_TIME_MS_MAX: Final = 2**48 - 1
_ENTROPY_BITS: Final = 80
_ENTROPY_BYTES: Final = _ENTROPY_BITS // 8
_NUMBER_MAX: Final = 2**128 - 1

# Crockford's base 32 has no I, L, O or U and sorts like the numbers. Spelled by pairs, ten bits at a time.
_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS: Final = tuple(high + low for high in _ALPHABET for low in _ALPHABET)


class Ulids:
    """A generator of ULIDs for any number of threads.

    Args:
        token_bytes: gives so many bytes of entropy, to any thread that wants an id. They alone distinguish a fork
            from its parent, so a seeded source gives both the same ids.
    """

    def __init__(self, token_bytes: Callable[[int], bytes]) -> None:
        self._token_bytes = token_bytes
        self._start_anew()
        _generators.add(self)

    def _start_anew(self) -> None:
        # A thread of the parent that does not exist in the child may hold the old lock for ever.
        self._lock = threading.Lock()
        # A count from the parent's last id would give the next ids of the parent, or of another child.
        self._last = -1

    def next(self, now_ms: int) -> str:
        """Return a new id, greater than all before; 26 characters of Crockford's base 32, in upper case.

        Where the clock stops or steps back, the next id is the last one plus 1, past its millisecond if need be.
        A time outside the 48 bits of a ULID (before 1970, after the year 10889) counts as the nearest inside.

        Raises:
            OverflowError: the last of all ULIDs was given; no real clock and entropy reach it.
        """
        time_ms = min(max(now_ms, 0), _TIME_MS_MAX)
        fresh = time_ms << _ENTROPY_BITS | int.from_bytes(self._token_bytes(_ENTROPY_BYTES), "big")
        with self._lock:
            following = self._last + 1
            number = fresh if fresh > following else following
            if number > _NUMBER_MAX:
                raise OverflowError("the last ULID has been given; starting over would repeat the first")
            self._last = number
        return _spell(number)


def drawn_ms(id: str) -> int | None:
    """Return when an id was drawn, in milliseconds since 1970, by its ULID; None for a caller's own id."""
    # Imported here: a program that only makes ids does not pay for reading them.
    from ulid import ULID

    try:
        ulid = ULID.from_str(id)
    except ValueError:
        return None
    # An id with another spelling was not drawn here: in lower case, or beyond 128 bits.
    return ulid.milliseconds if str(ulid) == id else None


def _spell(number: int) -> str:
    # Written out: a loop takes twice as long.
    pairs = _PAIRS
    return (
        f"{pairs[number >> 120]}{pairs[number >> 110 & 1023]}{pairs[number >> 100 & 1023]}"
        f"{pairs[number >> 90 & 1023]}{pairs[number >> 80 & 1023]}{pairs[number >> 70 & 1023]}"
        f"{pairs[number >> 60 & 1023]}{pairs[number >> 50 & 1023]}{pairs[number >> 40 & 1023]}"
        f"{pairs[number >> 30 & 1023]}{pairs[number >> 20 & 1023]}{pairs[number >> 10 & 1023]}"
        f"{pairs[number & 1023]}"
    )


# One hook for all generators: a program cannot remove a hook, which must not keep alive a generator that no caller
# uses any more.
_generators: Final[weakref.WeakSet[Ulids]] = weakref.WeakSet()


def _start_all_anew() -> None:
    for generator in _generators:
        generator._start_anew()


if hasattr(os, "register_at_fork"):  # absent where nothing can fork
    os.register_at_fork(after_in_child=_start_all_anew)
