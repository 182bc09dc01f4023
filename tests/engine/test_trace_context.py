"""What W3C Trace Context allows is recorded as it was given, and nothing else. [TRACE-1]"""

from __future__ import annotations

import pytest

import sagalog
from sagalog import Engine, InvalidValue
from sagalog.validation.trace_context import check_traceparent, check_tracestate

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SOUND = f"00-{TRACE}-{PARENT}-01"


@pytest.mark.parametrize(
    "text",
    [
        SOUND,
        f"00-{TRACE}-{PARENT}-00",
        f"00-{TRACE}-{PARENT}-ff",
        f"00-{1:032x}-{1:016x}-01",
        f"01-{TRACE}-{PARENT}-01",
        f"cc-{TRACE}-{PARENT}-01-what.the-future-will-be",
        f"fe-{TRACE}-{PARENT}-01-",
    ],
)
def test_a_traceparent_of_this_version_or_a_later_one_is_taken_as_it_is(text: str) -> None:
    """[TRACE-1]"""
    assert check_traceparent(text, "trace") == text


@pytest.mark.parametrize(
    "value",
    [
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-01-more",
        f"00-{TRACE}-{PARENT}-01-",
        f"00-{TRACE}-{PARENT}-010",
        f"01-{TRACE}-{PARENT}-01x",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{TRACE[:-1]}-{PARENT}-01",
        f"00-{TRACE}0-{PARENT}-01",
        f"00-{TRACE}-{PARENT[:-1]}-01",
        f"00-{TRACE}-{PARENT}-1",
        f"00-{TRACE}-{PARENT}",
        f"00-{0:032x}-{PARENT}-01",
        f"00-{TRACE}-{0:016x}-01",
        f"0g-{TRACE}-{PARENT}-01",
        f"00_{TRACE}_{PARENT}_01",
        f" {SOUND}",
        f"{SOUND}\n",
        f"00-{TRACE[:-1]}\u0661-{PARENT}-01",
        f"01-{TRACE}-{PARENT}-01-" + "x" * 200,
        "",
        SOUND.encode(),
    ],
)
def test_what_is_no_traceparent_is_refused(value: object) -> None:
    """[TRACE-1]"""
    with pytest.raises(InvalidValue) as caught:
        check_traceparent(value, "trace")
    assert caught.value.path == "trace"


@pytest.mark.parametrize(
    "text",
    [
        "vendor=opaque",
        "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE",
        "a= b , c@d=!~ ,\t, 0t@v=1",
        "a_-*/9=x",
        "k" * 256 + "=" + "v" * 255,
        "t" * 241 + "@" + "s" * 14 + "=" + "v" * 255,
        ",".join(f"k{n}=1" for n in range(32)),
        "a=1,,,b=2",
        "k=" + "v" * 256,
    ],
)
def test_a_tracestate_is_taken_as_it_is(text: str) -> None:
    """[TRACE-1]"""
    assert check_tracestate(text, "tracestate", SOUND) == text


@pytest.mark.parametrize(
    "value",
    [
        "",
        " , ",
        "vendor",
        "=1",
        "vendor=",
        "Vendor=1",
        "1vendor=1",
        "a@1=x",
        "a@b@c=x",
        "a=b=c",
        "a=\u00e9",
        "a=b\tc",
        "a =b",
        "a=1,a=2",
        "k" * 257 + "=v",
        "k=" + "v" * 257,
        "t" * 242 + "@s=v",
        "t@" + "s" * 15 + "=v",
        ",".join(f"k{n}=1" for n in range(33)),
        "a=1," * 128 + "b=2",
        b"a=1",
        {"a": "1"},
    ],
)
def test_what_is_no_tracestate_is_refused(value: object) -> None:
    """[TRACE-1] [BOUND-1]"""
    with pytest.raises(InvalidValue) as caught:
        check_tracestate(value, "tracestate", SOUND)
    assert caught.value.path == "tracestate"


def test_a_tracestate_is_accepted_only_beside_a_traceparent(engine: Engine) -> None:
    """[TRACE-1]"""
    with pytest.raises(InvalidValue, match="give trace too"):
        engine.create("build", tracestate="a=1")
    assert engine.create("build", trace=SOUND, tracestate="a=1").tracestate == "a=1"
    assert engine.create("build", trace=SOUND).tracestate is None


def test_a_successor_has_the_trace_of_its_predecessor(engine: sagalog.Engine) -> None:
    """[TRACE-1]"""
    engine.create("build", id="a", trace=SOUND, tracestate="a=1")
    engine.cancel("a")
    successor = engine.retry_as_new("a")
    assert (successor.trace, successor.tracestate) == (SOUND, "a=1")
