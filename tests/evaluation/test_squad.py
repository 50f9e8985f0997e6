"""Exact match and F1 of short answers, by hand."""

import sys

import pytest

from im_bench.evaluation import squad


@pytest.mark.parametrize(
    "gold, predicted, exact",
    [
        ("Paris", "paris.", 1),
        ("the  cat", "A cat!", 1),
        ("an apple", "apple", 1),
        ("theatre", "atre", 0),
        ("the", "a", 1),
        ("don't", "dont", 1),
        ("cat dog", "dog cat", 0),
        ("", "cat", 0),
    ],
)
def test_exact_is_equality_without_case_punctuation_and_articles(gold, predicted, exact):
    assert squad.compute_exact(gold, predicted) == exact


@pytest.mark.parametrize(
    "gold, predicted, f1",
    [
        ("red apple", "red apple", 1.0),
        ("red apple", "a green apple", 1 / 2),  # precision 1/2, recall 1/2
        ("red", "red red red", 1 / 2),  # precision 1/3, recall 1
        ("one two three", "one", 1 / 2),  # precision 1, recall 1/3
        ("red", "blue", 0.0),
        ("the", "an", 1.0),  # nothing is left of either
        ("the", "red", 0.0),
    ],
)
def test_f1_is_that_of_the_bags_of_words(gold, predicted, f1):
    assert squad.compute_f1(gold, predicted) == pytest.approx(f1)
    assert squad.compute_f1(predicted, gold) == pytest.approx(f1)


def test_the_task_finds_the_module_under_the_name_it_asks_for():
    squad.supply()
    import transformers.data.metrics.squad_metrics as found

    assert found.compute_f1("red", "red") == 1
    assert sys.modules[squad.PLACE].compute_exact("red", "red") == 1
