"""Which test items of benchmarks stand in a training set, by shared runs of words.

An item is found in a conversation when more than half of its words lie in runs of eight that both share, as Tulu 3
measures it (arXiv 2411.15124, section 3.2). Words are compared without case and punctuation. What more than twenty
items share is the wording of a benchmark and says nothing of one item: such runs do not count, neither as shared nor as
words of the item.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, repeat
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

GRAM = 8
"""Words in a run; shorter items are not looked for."""
SHARE = 0.5
COMMON = 20
"""Items that share a run, above which it is not of any."""
MOST_PAIRS = 1 << 20
"""Runs of texts and items that are compared at once."""
WORD = re.compile(r"\w+")
# Odd, so that no power of it is zero modulo 2 ** 64.
BASE = np.uint64(0x9E3779B97F4A7C15)
SIEVE_BITS = 22
Hashes = NDArray[np.uint64]
Places = NDArray[np.int64]


class Item(NamedTuple):
    """A text of a benchmark's test data."""

    benchmark: str
    text: str


class Hit(NamedTuple):
    """An item that a conversation holds."""

    item: int
    conversation: int
    """Place among those that were looked at."""


class Index:
    """The runs of words of many items; memory for some 20 bytes a word of theirs."""

    def __init__(self, items: Iterable[Item]) -> None:
        self.items = list(items)
        texts = [words(item.text) for item in self.items]
        self.numbers: dict[str, int] = {}
        for text in texts:
            for word in text:
                self.numbers.setdefault(word, len(self.numbers) + 1)
        hashes = [_hashes(self._numbered(text)) for text in texts]
        counts = [len(each) for each in hashes]
        hash_g = np.concatenate([*hashes, np.empty(0, np.uint64)])
        item_g = np.repeat(np.arange(len(texts)), counts)
        place_g = np.concatenate([*map(np.arange, counts), np.empty(0, np.int64)])
        order = np.argsort(hash_g, kind="stable")
        kept = order[~_common(hash_g[order], item_g[order])]
        self._hash_g, self._item_g, self._place_g = hash_g[kept], item_g[kept], place_g[kept]
        # Of each item, the words that lie in runs which are its own.
        self._size_i = _covered(self._item_g, self._place_g, len(texts))
        self._sieve = np.zeros(1 << SIEVE_BITS, np.bool_)
        self._sieve[_slot(self._hash_g)] = True

    def hits(self, texts: Sequence[str]) -> list[Hit]:
        """Every item that one of the texts holds; `conversation` is the text's place in the list."""
        # After each text comes what is no word of any item, so that no run goes from one text into the next.
        split = [[*words(text), ""] for text in texts]
        owner_w = np.repeat(np.arange(len(texts)), [len(each) for each in split])
        number_w = self._numbered(chain.from_iterable(split))
        hash_w = _hashes(number_w)
        starts = np.flatnonzero(_known(number_w) & self._sieve[_slot(hash_w)])
        if not len(starts):
            return []
        first = np.searchsorted(self._hash_g, hash_w[starts], "left")
        count = np.searchsorted(self._hash_g, hash_w[starts], "right") - first
        owner_s = owner_w[starts]
        return [
            hit
            for part in _parts(owner_s, count)
            for hit in self._held(owner_s[part], first[part], count[part])
        ]

    def _held(self, owner_s: Places, first_s: Places, count_s: Places) -> Iterator[Hit]:
        """Items of which enough is shared; an owner's runs come together, each with those of items that equal it."""
        owner_p = np.repeat(owner_s, count_s)
        within_p = np.arange(count_s.sum()) - np.repeat(np.cumsum(count_s) - count_s, count_s)
        gram_p = np.repeat(first_s, count_s) + within_p
        pairs, pair_p = np.unique(owner_p * len(self.items) + self._item_g[gram_p], return_inverse=True)
        shared = _covered(pair_p, self._place_g[gram_p], len(pairs))
        for pair in pairs[shared > SHARE * self._size_i[pairs % len(self.items)]].tolist():
            yield Hit(item=pair % len(self.items), conversation=pair // len(self.items))

    def _numbered(self, words: Iterable[str]) -> Hashes:
        """Each word's number; zero for a word of no item."""
        return np.fromiter(map(self.numbers.get, words, repeat(0)), np.uint64)


def words(text: str) -> list[str]:
    """What is compared of a text."""
    return WORD.findall(text.lower())


def _common(hash_g: Hashes, item_g: Places) -> NDArray[np.bool_]:
    """Which of sorted runs stand in many items; items stand in order within equal runs."""
    same = hash_g[1:] == hash_g[:-1]
    new = np.concatenate([[True], ~same])
    another = np.concatenate([[True], ~same | (item_g[1:] != item_g[:-1])])
    run_g = np.cumsum(new) - 1
    return np.bincount(run_g, weights=another)[run_g] > COMMON if len(hash_g) else np.zeros(0, np.bool_)


def _covered(group_p: Places, place_p: Places, groups: int) -> Places:
    """In each group, the words that lie in runs which begin at these places."""
    order = np.lexsort((place_p, group_p))
    group, place = group_p[order], place_p[order]
    reach = np.full(len(place), GRAM)
    within = group[1:] == group[:-1]
    reach[:-1][within] = np.minimum(GRAM, np.diff(place)[within])
    return np.bincount(group, weights=reach, minlength=groups).astype(np.int64)


def _parts(owner_s: Places, count_s: Places) -> Iterator[slice]:
    """Cuts between owners, so that each part compares not much more than `MOST_PAIRS`."""
    ends = np.flatnonzero(np.diff(owner_s)) + 1
    start, pairs = 0, np.concatenate([[0], np.cumsum(count_s)])
    for end in [*ends.tolist(), len(owner_s)]:
        if pairs[end] - pairs[start] > MOST_PAIRS or end == len(owner_s):
            yield slice(start, end)
            start = end


def _hashes(number_w: Hashes) -> Hashes:
    """One number for each run of eight; empty where there are fewer words."""
    count = max(0, len(number_w) - GRAM + 1)
    hash_w = np.zeros(count, np.uint64)
    for offset in range(GRAM):
        hash_w = hash_w * BASE + number_w[offset : offset + count]
    return hash_w


def _known(number_w: Hashes) -> NDArray[np.bool_]:
    """Whether a run of eight has no word that is in no item."""
    count = max(0, len(number_w) - GRAM + 1)
    unknown = np.concatenate([[0], np.cumsum(number_w == 0)])
    return unknown[GRAM : GRAM + count] == unknown[:count]


def _slot(hash_g: Hashes) -> Places:
    return ((hash_g * BASE) >> np.uint64(64 - SIEVE_BITS)).astype(np.int64)
