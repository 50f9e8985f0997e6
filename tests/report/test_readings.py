import pytest
from by_hand import row

from im_bench.config import UserError
from im_bench.report.readings import benchmark_entry, category_entry, headline, translation_leaves

MULTILINGUAL = ("lambada_multilingual", "wmt14", "wmt16")
LEAVES = {
    "wmt14-en-fr": 60,
    "wmt14-fr-en": 70,
    "wmt16-de-en": 80,
    "wmt16-en-de": 90,
    "wmt16-ro-en": 100,
    "wmt16-en-ro": 110,
}


def translations(worse=0.0):
    """LAMBADA 0.55; WMT14 65 and WMT16 95 by TER, each raised by `worse`."""
    leaves = [row(task[:5], ter + worse, task=task) for task, ter in LEAVES.items()]
    groups = [row("wmt14", 65 + worse), row("wmt16", 95 + worse)]
    return [row("lambada_multilingual", 0.55), *groups, *leaves]


def multilingual(rows, reading):
    return category_entry(rows, MULTILINGUAL, reading, translation_leaves(rows))


def test_corrected_takes_ter_as_an_error_rate():
    assert multilingual(translations(), "corrected").value == pytest.approx((55 + 35 + 5) / 3)


def test_published_takes_ter_as_a_gain_and_both_wmt_as_one():
    assert multilingual(translations(), "published").value == pytest.approx((55 + 85) / 2)


def test_worse_translation_lowers_corrected_and_raises_published():
    better, worse = translations(), translations(worse=3)
    assert multilingual(worse, "corrected").value == pytest.approx(
        multilingual(better, "corrected").value - 2
    )
    assert multilingual(worse, "published").value == pytest.approx(
        multilingual(better, "published").value + 1.5
    )


def test_a_ter_above_100_is_no_worse_than_no_translation():
    assert benchmark_entry([row("wmt16", 130.0)], "wmt16", "corrected").value == 0
    assert benchmark_entry([row("wmt16", 130.0)], "wmt16", "published").value == 130


def test_published_misses_its_translation_score_when_a_leaf_is_missing():
    rows = translations()
    without = [each for each in rows if each.task != "wmt16-ro-en"]
    assert category_entry(without, MULTILINGUAL, "published", translation_leaves(rows)).value is None
    assert category_entry(without, MULTILINGUAL, "corrected", translation_leaves(rows)).value is not None


def test_a_translation_benchmark_with_one_leaf_is_its_own_leaf():
    rows = [row("lambada_multilingual", 0.55), row("wmt14", 65.0)]
    assert multilingual_of_two(rows).value == pytest.approx((55 + 65) / 2)


def multilingual_of_two(rows):
    return category_entry(rows, ("lambada_multilingual", "wmt14"), "published", translation_leaves(rows))


COLD, WARM = "pass@1,temperature=0.1", "pass@1,temperature=0.7"


def test_human_eval_is_the_coldest_or_the_better_by_reading():
    rows = [row("humaneval", 0.12, metric=WARM), row("humaneval", 0.10, metric=COLD)]
    assert benchmark_entry(rows, "humaneval", "corrected").value == pytest.approx(10)
    assert benchmark_entry(rows, "humaneval", "published").value == pytest.approx(12)


def test_human_eval_is_at_the_temperature_without_a_note():
    rows = [
        row("humaneval", 0.10, metric=COLD, reading_note="second choice"),
        row("humaneval", 0.12, metric=WARM),
    ]
    assert headline(rows, "humaneval", "corrected").metric == WARM


def test_the_better_of_two_temperatures_is_unknown_while_one_is():
    rows = [row("humaneval", None, metric=WARM), row("humaneval", 0.10, metric=COLD)]
    assert benchmark_entry(rows, "humaneval", "published").value is None
    assert benchmark_entry(rows, "humaneval", "corrected").value == pytest.approx(10)


def test_leaf_tasks_are_no_headline():
    rows = [row("mmlu", 0.9, task="mmlu_anatomy"), row("mmlu", 0.3)]
    assert benchmark_entry(rows, "mmlu", "corrected").value == pytest.approx(30)


def test_two_headlines_are_refused_by_name():
    rows = [row("mmlu", 0.3), row("mmlu", 0.4, metric="acc_norm,none")]
    with pytest.raises(UserError, match=r"mmlu has several scores \(acc,none, acc_norm,none\)"):
        headline(rows, "mmlu", "corrected")


def test_fractions_become_percent_and_the_judged_keep_their_unit():
    assert benchmark_entry([row("mmlu", 0.25, stderr=0.02)], "mmlu", "corrected").value == 25
    assert benchmark_entry([row("mmlu", 0.25, stderr=0.02)], "mmlu", "corrected").stderr == 2
    assert benchmark_entry([row("mt_bench", 4.5, metric="score")], "mt_bench", "corrected").value == 4.5
    assert (
        benchmark_entry([row("alpaca_eval_1", 33.0, metric="win_rate")], "alpaca_eval_1", "published").value
        == 33
    )


def test_the_error_of_a_category_takes_its_benchmarks_as_independent():
    rows = [row("mmlu", 0.2, stderr=0.03), row("piqa", 0.4, stderr=0.04)]
    both = category_entry(rows, ("mmlu", "piqa"), "corrected", frozenset())
    assert both.value == pytest.approx(30)
    assert both.stderr == pytest.approx(2.5)  # sqrt(3^2 + 4^2) / 2


def test_one_unknown_error_makes_the_error_of_the_category_unknown():
    rows = [row("mmlu", 0.2, stderr=0.03), row("piqa", 0.4)]
    assert category_entry(rows, ("mmlu", "piqa"), "corrected", frozenset()).stderr is None


@pytest.mark.parametrize("missing", [[], [row("piqa", None)]])
def test_missing_is_never_zero(missing):
    assert benchmark_entry(missing, "piqa", "corrected").value is None
    assert (
        category_entry([row("mmlu", 0.2), *missing], ("mmlu", "piqa"), "corrected", frozenset()).value is None
    )


def test_a_category_counts_the_items_of_its_benchmarks():
    rows = [row("mmlu", 0.2, count=7, total=10), row("piqa", 0.4, count=5, total=5)]
    both = category_entry(rows, ("mmlu", "piqa"), "corrected", frozenset())
    assert (both.count, both.total, both.partial) == (12, 15, True)
