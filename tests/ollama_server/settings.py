"""What a test chooses of the server: its models, its pace, its limits.

Rule: a name of a model is compared in its normal form, `name:tag`, and answered as it was asked for.
"""

from __future__ import annotations

from typing import Final

import msgspec

VERSION: Final = "0.33.0"
_TAG: Final = "latest"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The choices of one server.

    Args:
        models: Names of the models that it has for chats.
        embedding_models: Names of models that only embed; they stay loaded beside the one chat model.
        pullable: Further names that `/api/pull` finds.
        tokens_per_second: The pace of an answer; 0 is as fast as the model is.
        load_ms: Milliseconds that a load takes at least.
        keep_alive_ms: Milliseconds for which an idle model stays loaded, unless a request says otherwise.
        pending_max: Requests that may wait for a load; one more is refused with 503.
        parallel: Answers that one model gives at once.
        answer_tokens: Tokens of an answer, unless its request says otherwise.
        token: The bearer token that every request must carry; none by default.
    """

    models: tuple[str, ...] = ("a", "b")
    embedding_models: tuple[str, ...] = ("embed",)
    pullable: tuple[str, ...] = ()
    tokens_per_second: float = 0
    load_ms: float = 0
    keep_alive_ms: float = 300_000
    pending_max: int = 512
    parallel: int = 1
    answer_tokens: int = 16
    token: str | None = None


def normal(name: str) -> str:
    """Return the normal form of a model's name: with its tag, in lower case."""
    name = name.strip().lower()
    return name if ":" in name.rpartition("/")[2] else f"{name}:{_TAG}"
