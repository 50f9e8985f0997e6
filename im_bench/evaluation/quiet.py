"""Silence for a library that talks through the root logger."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet() -> Iterator[None]:
    """Keep root-logger records and warnings off the terminal, and put the root logger back as it was.

    The records of named loggers never pass the root's filters, so they are heard as before; and a root
    logger without any handler would be given one for good by the first record.
    """
    root, mute = logging.getLogger(), logging.NullHandler()
    refuse = logging.Filter("no record of the root has this name")
    level = root.level
    root.addHandler(mute)
    root.addFilter(refuse)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.removeFilter(refuse)
        root.removeHandler(mute)
        root.setLevel(level)
