"""A tiny language model as a GGUF file: real weights of one layer, drawn from the model's name.

Rule: the same name gives the same bytes on every machine, and another name another model, so that an answer tells
which model gave it. No token ends an answer, so an answer has as many tokens as its request allows. Each token is whole
UTF-8, some of more than one byte. It must not know who runs the file.
"""

from __future__ import annotations

import array
import random
import struct
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Final, NamedTuple

WIDTH: Final = 32
HEADS: Final = 2
FEED_FORWARD: Final = 64
CONTEXT_TOKENS: Final = 2_048
ARCHITECTURE: Final = "llama"

_VERSION: Final = 3
_ALIGNMENT: Final = 32
_FLOAT32: Final = 0
_SPREAD: Final = 0.2
# The kinds of GGUF's values.
_UINT32, _INT32, _FLOAT, _STRING, _ARRAY = 4, 5, 6, 8, 9
# The kinds of tokens.
_NORMAL, _UNKNOWN, _CONTROL, _BYTE = 1, 2, 3, 6

_SPECIAL: Final = ("<unk>", "<s>", "</s>")
_LETTERS: Final = ["▁", *"theaiousnrld.,!?"]
_WORDS: Final = [
    *("▁the", "▁sky", "▁is", "▁blue", "▁because", "▁light", "▁and", "▁we", "▁read", "▁it", "▁by", "▁day", "▁night"),
    *("▁gray", "▁rain", "▁sun", "▁wind", "▁over", "▁under", "▁far", "▁near", "▁a", "▁b", "▁of"),
    *("▁größe", "▁naïve", "▁été", "▁空", "▁青い", "▁мир", "▁🜁", "▁“so”"),
]
_TEMPLATE: Final = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant:"


class Tensor(NamedTuple):
    """One matrix or vector; `shape` has the length of a row first."""

    name: str
    shape: Sequence[int]
    values: array.array[float]


@cache
def model_bytes(name: str) -> bytes:
    """Return the whole file of the model of this name; about 115 kB."""
    entries = list(_entries(name))
    tensors = list(_tensors(random.Random(f"sagalog tiny model {name}")))
    head = b"GGUF" + struct.pack("<IQQ", _VERSION, len(tensors), len(entries)) + b"".join(entries)
    offset = 0
    for one in tensors:
        head += _text(one.name) + struct.pack(f"<I{len(one.shape)}Q", len(one.shape), *one.shape)
        head += struct.pack("<IQ", _FLOAT32, offset)
        offset += len(_padded(_little(one.values)))
    return _padded(head) + b"".join(_padded(_little(one.values)) for one in tensors)


def parameters() -> int:
    """Return how many weights a model has."""
    return sum(len(one.values) for one in _tensors(random.Random(0)))


def _tokens() -> list[tuple[str, int]]:
    special = [(token, _UNKNOWN if token == "<unk>" else _CONTROL) for token in _SPECIAL]  # noqa: S105  # no secret
    pieces = [(token, _NORMAL) for token in dict.fromkeys([*_LETTERS, *_WORDS])]
    return [*special, *((f"<0x{value:02X}>", _BYTE) for value in range(256)), *pieces]


def _entries(name: str) -> Iterator[bytes]:
    """Give what the file says about the model, each entry encoded."""
    tokens = _tokens()
    numbers = {
        "context_length": CONTEXT_TOKENS,
        "embedding_length": WIDTH,
        "block_count": 1,
        "feed_forward_length": FEED_FORWARD,
        "attention.head_count": HEADS,
        "attention.head_count_kv": HEADS,
        "rope.dimension_count": WIDTH // HEADS,
        "vocab_size": len(tokens),
    }
    yield _entry("general.architecture", _STRING, _text(ARCHITECTURE))
    yield _entry("general.name", _STRING, _text(name))
    yield _entry("general.file_type", _UINT32, struct.pack("<I", 0))
    for key, number in numbers.items():
        yield _entry(f"{ARCHITECTURE}.{key}", _UINT32, struct.pack("<I", number))
    yield _entry(f"{ARCHITECTURE}.attention.layer_norm_rms_epsilon", _FLOAT, struct.pack("<f", 1e-5))
    yield _entry("tokenizer.ggml.model", _STRING, _text("llama"))
    yield _entry("tokenizer.ggml.tokens", _ARRAY, _items(_STRING, [_text(token) for token, _ in tokens]))
    scores = [struct.pack("<f", -float(rank)) for rank in range(len(tokens))]
    yield _entry("tokenizer.ggml.scores", _ARRAY, _items(_FLOAT, scores))
    yield _entry("tokenizer.ggml.token_type", _ARRAY, _items(_INT32, [struct.pack("<i", kind) for _, kind in tokens]))
    for number, key in enumerate(("unknown", "bos", "eos")):
        yield _entry(f"tokenizer.ggml.{key}_token_id", _UINT32, struct.pack("<I", number))
    yield _entry("tokenizer.chat_template", _STRING, _text(_TEMPLATE))


def _tensors(chance: random.Random) -> Iterator[Tensor]:
    tokens = _tokens()

    def noise(name: str, *shape: int) -> Tensor:
        return Tensor(name, shape, _noise(chance, shape[0] * shape[1]))

    def ones(name: str) -> Tensor:
        return Tensor(name, (WIDTH,), array.array("f", [1.0] * WIDTH))

    yield noise("token_embd.weight", WIDTH, len(tokens))
    yield ones("output_norm.weight")
    # Only words have a weight in the output, so that every token of an answer is one.
    words = set(_WORDS)
    output = array.array("f")
    for token, _ in tokens:
        output.extend(_noise(chance, WIDTH) if token in words else [0.0] * WIDTH)
    yield Tensor("output.weight", (WIDTH, len(tokens)), output)
    yield from (ones(f"blk.0.{name}.weight") for name in ("attn_norm", "ffn_norm"))
    for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
        yield noise(f"blk.0.{name}.weight", WIDTH, WIDTH)
    for name in ("ffn_gate", "ffn_up"):
        yield noise(f"blk.0.{name}.weight", WIDTH, FEED_FORWARD)
    yield noise("blk.0.ffn_down.weight", FEED_FORWARD, WIDTH)


def _noise(chance: random.Random, count: int) -> array.array[float]:
    # Only `random()` promises the same numbers in every version of Python.
    return array.array("f", [(chance.random() - 0.5) * _SPREAD * 3.5 for _ in range(count)])


def _little(values: array.array[float]) -> bytes:
    if sys.byteorder == "big":
        values = values[:]
        values.byteswap()
    return values.tobytes()


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % _ALIGNMENT)


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _entry(key: str, kind: int, value: bytes) -> bytes:
    return _text(key) + struct.pack("<I", kind) + value


def _items(kind: int, items: Sequence[bytes]) -> bytes:
    return struct.pack("<IQ", kind, len(items)) + b"".join(items)
