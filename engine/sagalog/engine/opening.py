"""`sagalog.open`: a URL -> an engine on the store it names.

Rule: no store is known by name here. The package `sagalog_<scheme>` brings the store of a scheme; a package with
another name registers its store under the entry points `sagalog.stores`.
"""

from __future__ import annotations

import re
from importlib import import_module
from importlib.util import find_spec
from typing import Final

from sagalog.engine import Engine
from sagalog.ports import Clock, Entropy
from sagalog.store import OpenStore
from sagalog.system import SystemClock
from sagalog.validation.values import shown

# Who opens a store over a network: a name and perhaps a password, up to the last `@`. A path begins with `/`.
_USER: Final = re.compile(r"(?<=://)[^/].*@", re.DOTALL)
# The value of a parameter that may open something.
_SECRET: Final = re.compile(r"(?<=[?&])([^=&]*(?:pass|pwd|secret|token|key|auth)[^=&]*)=[^&]*", re.IGNORECASE)


def open(
    url: str,
    *,
    create: bool = True,
    clock: Clock | None = None,
    entropy: Entropy | None = None,
    durability: str = "full",
    actor: str | None = None,
) -> Engine:
    """Open the store that a URL names, and make it if it is absent.

    Args:
        url: the scheme of a store and what it opens, as in `sqlite:///relative.db`; other packages register more
            schemes.
        create: make an absent store; an empty file is never taken for a new one.
        clock: the time for everything in the store, instead of the machine's.
        entropy: where ids and jitter come from, instead of the machine's randomness.
        durability: "full": what was acknowledged survives a power loss; "normal": it survives a killed process, and a
            power loss may take the last commits but never damages the file.
        actor: who is on record for commands that name no actor: `user:`, `token:` or `schedule:` and a name. [ACTOR-1]

    Raises:
        Unavailable: the store is absent, locked or unreadable, or its file system cannot hold it. [FILE-1]
        Corrupt: it is damaged, empty, foreign, or of a newer format.
        InvalidValue: the actor is none.
        ValueError: no store has this scheme (the text names those that there are), or the durability is another word.
    """
    if not isinstance(url, str):
        raise ValueError(f"a store is named by a URL such as 'sqlite:///agents.db', not by a {type(url).__name__}")
    if durability not in ("full", "normal"):
        raise ValueError(f"durability: expected 'full' or 'normal', found {shown(durability)}")
    open_store = _opener_of(url)
    clock = clock or SystemClock()
    store = open_store(url, create=create, clock=clock, durability=durability)
    try:
        engine = Engine(store, clock=clock, entropy=entropy, actor=actor)
    except BaseException:
        store.close()
        raise
    engine._place = place_of(url)
    return engine


def _opener_of(url: str) -> OpenStore:
    scheme, colon, _ = url.partition(":")
    if colon and scheme.isidentifier():
        for name in (f"sagalog_{scheme}", f"sagalog.store.{scheme}"):
            if find_spec(name) is not None:
                opener: OpenStore | None = getattr(import_module(name), "open_store", None)
                if opener is not None:
                    return opener
    return _registered_opener_of(url, scheme)


def _registered_opener_of(url: str, scheme: str) -> OpenStore:
    # Imported and asked only here: together they take as long as the start of the whole engine.
    from importlib.metadata import entry_points

    found = {point.name: point for point in entry_points(group="sagalog.stores")}
    if scheme not in found:
        advice = f"; the URL of a file is 'sqlite:///{url}'" if scheme == url else ""
        raise ValueError(f"no store for {url!r}: the known schemes are {', '.join(sorted(found))}{advice}")
    opener: OpenStore = found[scheme].load()
    return opener


def place_of(url: str) -> str:
    """The URL as people may see it: on one line, and without what opens the store."""
    masked = _SECRET.sub(r"\1=***", _USER.sub("***@", url))
    return "".join(character if character.isprintable() else " " for character in masked)
