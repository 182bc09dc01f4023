"""Settings of a server: what it takes of a caller, how long it waits, and which names it answers under.

Rule: numbers and names only, with the unit last. It must not know what is done with them.
"""

from __future__ import annotations

import msgspec

from sagalog import Rate


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of a server: what it allows.

    open_while_no_tokens       on a loopback address, need no token while none is on record [TOKEN-6]
    hosts                      names that it answers under besides `localhost` and addresses, as in `queue.example`
    origins                    origins whose pages may call it, as in `https://app.example` or `http://localhost:*`
    body_bytes_max             how large a body may be where the route says nothing else
    body_ms                    how long a body may take, and for each of `body_bytes_per_second_min` a second more
    body_bytes_per_second_min  how fast a large body has to be at least
    header_bytes_max           how large all headers together may be
    headers_max                how many headers there may be
    headers_ms                 how long the headers may take
    keep_alive_ms              how long a connection may stay idle
    connections_max            how many connections may be open; None: 4,000, or what there are descriptors for
    streams_max                how many streams may be open
    streams_per_token_max      how many streams of one token may be open
    token_rate                 how many requests a token has; None: any number
    address_rate               how many requests an address has; None: any number
    stranger_rate              how many requests with unknown tokens an address has
    send_ms                    how long a reader may take for what was sent, before its stream ends
    stop_requests_ms           how long requests may go on when the server stops
    stop_ms                    how long the server takes to stop at most
    """

    open_while_no_tokens: bool = False
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    body_bytes_max: int = 1_048_576
    body_ms: int = 20_000
    body_bytes_per_second_min: int = 16_384
    header_bytes_max: int = 16_384
    headers_max: int = 100
    headers_ms: int = 10_000
    keep_alive_ms: int = 30_000
    connections_max: int | None = None
    streams_max: int = 2_000
    streams_per_token_max: int = 500
    token_rate: Rate | None = Rate(1_000, 1_000)
    address_rate: Rate | None = Rate(2_000, 1_000)
    stranger_rate: Rate = Rate(20, 1_000, 100)
    send_ms: int = 10_000
    stop_requests_ms: int = 1_000
    stop_ms: int = 10_000
