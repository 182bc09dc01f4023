"""Ids differ, sort in the order they were made, and stay apart over threads and forks; and the machine beneath."""

from __future__ import annotations

import gc
import os
import random
import signal
import threading
import time
import weakref
from collections.abc import Callable
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ulid import ULID

from sagalog.ids import Ulids
from sagalog.system import SystemClock, SystemEntropy

NOW_MS: Final = 1_790_000_000_000
TIMES_MS = st.integers(0, 2**48 - 1)
FORKS: Final = pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")


def always(number: int) -> Callable[[int], bytes]:
    """Entropy that has stopped: the worst case, in which only counting on keeps ids apart."""
    return lambda count: number.to_bytes(count, "big")


def spelled(number: int) -> str:
    return str(ULID.from_int(number))


# --- the text form ------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(TIMES_MS, st.binary(min_size=10, max_size=10))
def test_an_id_is_read_back_by_python_ulid_with_its_time_and_its_chance(now_ms: int, entropy: bytes) -> None:
    text = Ulids(lambda _count: entropy).next(now_ms)

    read = ULID.from_str(text)
    assert str(read) == text
    assert read == ULID.parse(text)
    assert read.milliseconds == now_ms
    assert read.bytes == now_ms.to_bytes(6, "big") + entropy


def test_the_smallest_and_the_greatest_id_are_spelled_like_ulids() -> None:
    assert Ulids(always(1)).next(0) == "00000000000000000000000001"
    assert Ulids(always(2**80 - 1)).next(2**48 - 1) == "7ZZZZZZZZZZZZZZZZZZZZZZZZZ"


def test_ten_bytes_of_chance_are_asked_for() -> None:
    asked: list[int] = []

    def token_bytes(count: int) -> bytes:
        asked.append(count)
        return bytes(count)

    Ulids(token_bytes).next(NOW_MS)

    assert asked == [10]


@pytest.mark.parametrize(
    ("now_ms", "counts_as_ms"), [(-1, 0), (-(2**60), 0), (2**48, 2**48 - 1), (2**53 - 1, 2**48 - 1)]
)
def test_a_time_that_no_ulid_can_hold_counts_as_the_nearest(now_ms: int, counts_as_ms: int) -> None:
    assert ULID.from_str(Ulids(always(7)).next(now_ms)).milliseconds == counts_as_ms


# --- order --------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(TIMES_MS | st.integers(NOW_MS, NOW_MS + 2), max_size=50), st.randoms(use_true_random=False))
def test_ids_sort_in_the_order_they_were_made_however_the_clock_jumps(
    times_ms: list[int], entropy: random.Random
) -> None:
    ids = Ulids(entropy.randbytes)

    made = [ids.next(now_ms) for now_ms in times_ms]

    assert made == sorted(set(made))


@settings(deadline=None)
@given(st.lists(TIMES_MS, min_size=1, max_size=50), st.integers(0, 2**80 - 1))
def test_an_id_is_the_fresh_one_or_the_one_after_the_last(times_ms: list[int], entropy: int) -> None:
    ids = Ulids(always(entropy))
    last = -1

    for now_ms in times_ms:
        last = max(last + 1, now_ms << 80 | entropy)
        if last < 2**128:
            assert ids.next(now_ms) == spelled(last)


def test_a_millisecond_that_is_used_up_runs_over_into_the_next() -> None:
    ids = Ulids(always(2**80 - 2))

    made = [ids.next(NOW_MS) for _ in range(4)]

    numbers = [NOW_MS << 80 | 2**80 - 2, NOW_MS << 80 | 2**80 - 1, (NOW_MS + 1) << 80, (NOW_MS + 1) << 80 | 1]
    assert made == [spelled(number) for number in numbers]


def test_the_last_of_all_ids_is_followed_by_an_error() -> None:
    """The first id never follows it."""
    ids = Ulids(always(2**80 - 1))
    ids.next(2**48 - 1)

    for now_ms in (2**48 - 1, 0, NOW_MS):
        with pytest.raises(OverflowError):
            ids.next(now_ms)


# --- threads and forks --------------------------------------------------------------------------------------


class Interrupted(int):
    """A number that lets the other threads run between being read and being counted on."""

    def __add__(self, other: int) -> Interrupted:
        time.sleep(0)
        return Interrupted(int(self) + other)


def test_eight_threads_draw_different_ids_each_in_order() -> None:
    ids = Ulids(always(0))
    ids._last = Interrupted(NOW_MS << 80)
    drawn: list[list[str]] = [[] for _ in range(8)]
    start = threading.Barrier(8)

    def draw(into: list[str]) -> None:
        start.wait()
        into.extend(ids.next(NOW_MS) for _ in range(500))

    threads = [threading.Thread(target=draw, args=(into,)) for into in drawn]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    everything = [text for own in drawn for text in own]
    assert len(set(everything)) == 8 * 500
    assert all(own == sorted(own) for own in drawn)
    # Entropy and clock did not move, so each id is the one after another: none was given twice, none was lost.
    assert max(everything) == spelled((NOW_MS << 80) + 8 * 500)


def in_a_fork(make: Callable[[], str]) -> str:
    """What `make` gives in a child of this process."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(10)  # a child that waits for a lock of its parent's must not hang the run
        try:
            os.write(writing, make().encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        text = answer.read()
    os.waitpid(child, 0)
    return text


@FORKS
def test_a_fork_and_its_parent_make_different_ids_in_the_same_millisecond() -> None:
    ids = Ulids(SystemEntropy().token_bytes)
    before = ids.next(NOW_MS)

    made = [*(in_a_fork(lambda: ids.next(NOW_MS)) for _ in range(5)), ids.next(NOW_MS)]

    assert len({before, *made}) == 7
    assert all(len(text) == 26 for text in made)


@FORKS
def test_a_fork_does_not_count_on_from_the_last_id_of_its_parent() -> None:
    """The clock has stepped back, so parent and fork would both give the last id and one."""
    ids = Ulids(SystemEntropy().token_bytes)
    ids.next(NOW_MS)

    in_fork = in_a_fork(lambda: ids.next(NOW_MS - 1_000))

    assert in_fork != ids.next(NOW_MS - 1_000)
    assert ULID.from_str(in_fork).milliseconds == NOW_MS - 1_000


@FORKS
def test_a_fork_makes_ids_though_a_thread_of_its_parent_held_the_lock() -> None:
    ids = Ulids(SystemEntropy().token_bytes)
    ids.next(NOW_MS)

    with ids._lock:
        made = in_a_fork(lambda: ids.next(NOW_MS))

    assert len(made) == 26


def test_a_generator_that_no_caller_uses_is_not_kept_alive_by_the_hook() -> None:
    ids = Ulids(always(0))
    seen = weakref.ref(ids)

    del ids
    gc.collect()

    assert seen() is None


# --- the machine --------------------------------------------------------------------------------------------


def test_the_clock_of_the_machine_counts_whole_milliseconds_since_1970() -> None:
    before = time.time_ns()
    now_ms = SystemClock().now_ms()
    after = time.time_ns()

    assert type(now_ms) is int
    assert before // 1_000_000 <= now_ms <= after // 1_000_000


def test_the_monotonic_clock_of_the_machine_counts_whole_milliseconds() -> None:
    before = time.monotonic_ns()
    now_ms = SystemClock().monotonic_ms()
    after = time.monotonic_ns()

    assert type(now_ms) is int
    assert before // 1_000_000 <= now_ms <= after // 1_000_000


def test_the_machines_chance_gives_as_many_bytes_as_asked_for() -> None:
    """It never gives the same ones again."""
    entropy = SystemEntropy()

    assert [len(entropy.token_bytes(count)) for count in (0, 1, 10, 1000)] == [0, 1, 10, 1000]
    assert len({entropy.token_bytes(10) for _ in range(1000)}) == 1000


@pytest.mark.parametrize(
    ("drawn", "fraction"),
    [(bytes(7), 0.0), (b"\xff" * 7, 1 - 2.0**-53), (b"\x80" + bytes(6), 0.5), (bytes(6) + b"\x08", 2.0**-53)],
)
def test_a_fraction_lies_between_nothing_and_less_than_one(
    drawn: bytes, fraction: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "urandom", lambda count: drawn[:count])

    assert SystemEntropy().fraction() == fraction
    assert 0 <= fraction < 1


@FORKS
def test_a_fork_draws_other_chance_than_its_parent() -> None:
    entropy = SystemEntropy()
    entropy.fraction()

    assert in_a_fork(lambda: repr(entropy.fraction())) != repr(entropy.fraction())
