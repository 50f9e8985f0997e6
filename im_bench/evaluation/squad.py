"""Exact match and F1 of short answers, as SQuAD defines them (Rajpurkar et al. 2016, section 6.1).

lm-eval's CoQA task takes these two functions from a module of transformers that newer versions no longer
have. `supply` puts this module in its place; where transformers still has it, nothing is done.
"""

from __future__ import annotations

import importlib
import re
import string
import sys
from collections import Counter
from importlib.util import find_spec
from types import ModuleType

PLACE = "transformers.data.metrics.squad_metrics"
ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)


def supply() -> None:
    """Make the module importable under the name that the task asks for; a second call does nothing."""
    package = PLACE.rpartition(".")[0]
    if package not in sys.modules and find_spec(package) is None:
        sys.modules[package] = ModuleType(package)
        sys.modules[PLACE] = sys.modules[__name__]
        importlib.import_module("transformers.data").metrics = sys.modules[package]  # type: ignore[attr-defined]  # made here
        sys.modules[package].squad_metrics = sys.modules[__name__]  # type: ignore[attr-defined]  # made here


def compute_exact(gold: str, predicted: str) -> int:
    """1 when both are the same after normalisation, else 0."""
    return int(_words(gold) == _words(predicted))


def compute_f1(gold: str, predicted: str) -> float:
    """F1 of the bags of words; when one is empty, whether both are."""
    gold_words, predicted_words = _words(gold), _words(predicted)
    if not gold_words or not predicted_words:
        return float(gold_words == predicted_words)
    shared = sum((Counter(gold_words) & Counter(predicted_words)).values())
    return 2 * shared / (len(gold_words) + len(predicted_words))


def _words(text: str) -> list[str]:
    """Lower case, no punctuation, no articles."""
    return ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split()
