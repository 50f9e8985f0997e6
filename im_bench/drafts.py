"""Files that are whole or not there."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SUFFIX = ".draft"


@contextmanager
def drafted(path: Path) -> Iterator[Path]:
    """A file beside `path` to be written, which takes its place when the block has ended without an error."""
    draft = path.with_name(f"{path.name}{SUFFIX}")
    yield draft
    draft.replace(path)
