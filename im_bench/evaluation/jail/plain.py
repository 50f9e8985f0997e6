"""Plain data between two processes that do not trust each other.

Only None, numbers, strings, bytes, lists, tuples, sets, dicts and ranges pass. An instance of a subclass
arrives as the class it extends; an iterator arrives as an iterator over a list. Whatever code a value had
stays where it came from.
"""

from __future__ import annotations

import io
import os
import pickle
import struct
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any

MOST_BYTES = 64 << 20
"""Of one message."""
NUMBERS = (bool, int, float, complex, Decimal, Fraction)
PLAIN: tuple[type[Any], ...] = (*NUMBERS, str, bytes, bytearray, list, tuple, set, frozenset, dict, range)
NAMES = {(kind.__module__, kind.__name__): kind for kind in PLAIN}


class NotPlain(TypeError):
    """A value that is not plain data."""


class Broken(Exception):
    """The other side ended, or did not keep to the form of a message."""


class _Writer(pickle.Pickler):
    def reducer_override(self, value: object) -> Any:
        if type(value) in PLAIN or any(value is kind for kind in PLAIN):
            return NotImplemented
        for kind in PLAIN:
            if isinstance(value, kind):
                return kind, (kind(value),)
        raise NotPlain(f"a {type(value).__name__} is not plain data")


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in NAMES:
            raise Broken(f"{module}.{name} is not plain data")
        return NAMES[module, name]


def pack(value: object) -> bytes:
    """One message.

    Raises:
        NotPlain: the value, or something in it, is not plain data.
    """
    is_iterator = isinstance(value, Iterator)
    buffer = io.BytesIO()
    _Writer(buffer, protocol=4).dump((is_iterator, list(value) if isinstance(value, Iterator) else value))
    return buffer.getvalue()


def unpack(message: bytes) -> Any:
    """The value of a message; builds builtins only, whoever wrote it.

    Raises:
        Broken: it is no such message.
    """
    try:
        is_iterator, value = _Reader(io.BytesIO(message)).load()
        return iter(value) if is_iterator else value
    except Broken:
        raise
    except Exception as error:  # pickle names no closed set of errors for bytes it did not write
        raise Broken(f"{type(error).__name__} in a message") from None


def send(descriptor: int, message: bytes) -> None:
    """Write one message, whole, to a file descriptor."""
    rest = memoryview(struct.pack("<I", len(message)) + message)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def receive(descriptor: int) -> bytes:
    """Read one message, whole and no byte more, from a file descriptor.

    Raises:
        Broken: the other side has ended, or the message is larger than `MOST_BYTES`.
    """
    (size,) = struct.unpack("<I", _exactly(descriptor, 4))
    if size > MOST_BYTES:
        raise Broken(f"a message of {size} bytes")
    return _exactly(descriptor, size)


def _exactly(descriptor: int, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = os.read(descriptor, min(size - len(parts), 1 << 20))
        if not part:
            raise Broken("ended early")
        parts += part
    return bytes(parts)
