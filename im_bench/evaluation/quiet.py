"""Silence for a library that talks through the root logger."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet(*modules: str) -> Iterator[None]:
    """Keep this thread's root-logger records, and the warnings of these modules, off the terminal.

    Other threads are heard as before, and so are named loggers, whose records never pass the root's filters. The root
    logger is put back as it was: one without any handler would be given one for good by the first record.
    """
    root, mute = logging.getLogger(), logging.NullHandler()
    this = threading.get_ident()
    level = root.level

    def others(record: logging.LogRecord) -> bool:
        return record.thread != this

    root.addHandler(mute)
    root.addFilter(others)
    # Not within `catch_warnings`, which would change what other threads hear.
    for module in modules:
        warnings.filterwarnings("ignore", module=module.replace(".", r"\."))
    try:
        yield
    finally:
        root.removeFilter(others)
        root.removeHandler(mute)
        root.setLevel(level)
