"""How far a benchmark is: whoever follows is told what is done, and of how much."""

from __future__ import annotations

from collections.abc import Callable

Follow = Callable[[int, int], None]
"""Called with how many requests are answered, and of how many."""


def nobody(done: int, total: int) -> None:
    """Nobody follows."""


class Tally:
    """Adds up what is done of a total, and tells."""

    def __init__(self, total: int, follow: Follow) -> None:
        self._done, self._total, self._follow = 0, total, follow

    def more(self, done: int) -> None:
        self._done += done
        self._follow(self._done, self._total)
