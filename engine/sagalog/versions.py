"""The versions of sagalog: which one runs, and whether one is newer than another.

Rule: a text that is no version is newer than none, so that no store records it twice. The build of the package reads
`RUNNING` here; asking the installed package would make the start of a process a sixth longer. Knows no store.
"""

from __future__ import annotations

import re
from typing import Final

RUNNING: Final = "0.1.0.dev0"

# The normal form of a package's version: 1.2rc1.post2.dev3+local. The local part does not count for the order.
_FORM: Final = re.compile(
    r"(?:(\d+)!)?(\d+(?:\.\d+)*)(?:(a|b|rc)(\d+))?(?:\.post(\d+))?(?:\.dev(\d+))?(?:\+[a-z0-9.]+)?", re.ASCII
)
_LAST: Final = 2**63


def is_newer(one: str, than: str) -> bool:
    """Check whether a version follows another, as packages order them; a text that is no version precedes all."""
    mine, other = _order(one), _order(than)
    return mine is not None and (other is None or mine > other)


def _order(text: str) -> tuple[object, ...] | None:
    found = _FORM.fullmatch(text)
    if found is None:
        return None
    epoch, release, stage, stage_number, post, dev = found.groups()
    numbers = [int(one) for one in release.split(".")]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    if stage is not None:
        maturity = (stage, int(stage_number))
    else:
        # A development version of a release precedes every candidate of it.
        maturity = ("", 0) if dev is not None and post is None else ("z", 0)
    return (
        int(epoch or 0),
        tuple(numbers),
        maturity,
        -1 if post is None else int(post),
        _LAST if dev is None else int(dev),
    )
