from math import comb

import pytest
from by_hand import base, row
from kept_items import keep

from im_bench.config import Report, UserError
from im_bench.report.cells import Cell
from im_bench.report.comparisons import NOT_AT_HAND, by_cell, compared
from im_bench.report.formats import to_markdown
from im_bench.report.pivot import Form, pivot
from im_bench.report.tables import benchmark_table, category_table

WANTED = Report(baseline="it", reading="corrected")
POOLED = Report(baseline="it", reading="corrected", seeds="pooled")
IT = [1.0] * 20 + [0.0] * 20
IM = [1.0] * 38 + [0.0] * 2
IM_WON = 18
"""Items that IM has right and IT has not; there is none the other way round."""


def share(outcomes):
    known = [each for each in outcomes if each is not None]
    return sum(known) / len(known)


def pair(results, benchmark="piqa", it=IT, im=IM, seed=0, **how):
    """The rows of one benchmark under both losses, and their items in the store."""
    rows = []
    for loss, outcomes in (("it", it), ("im", im)):
        step = f"{benchmark}{loss}{seed}"
        keep(results, step, outcomes, task=benchmark, **how)
        rows.append(row(benchmark, share(outcomes), loss=loss, seed=seed, step=step, count=40, total=40))
    return rows


def found(results, rows, wanted=WANTED):
    return {
        (each.cell.loss, each.family, each.column.id): each
        for each in compared(rows, results / "store", wanted)
    }


def test_a_difference_is_tested_over_the_same_items(tmp_path):
    each = found(tmp_path, pair(tmp_path))["im", "benchmarks", "piqa"]
    assert each.found.difference == pytest.approx(45) and each.found.items == 40
    assert each.found.p == pytest.approx(2 * 0.5**IM_WON * comb(IM_WON, 0))
    assert each.found.low < 45 < each.found.high


def test_a_pair_says_more_than_two_scores_alone(tmp_path):
    """Two losses that differ on few of the items, where the scores' own errors would drown it."""
    it = [1.0, 0.0] * 20
    im = [1.0] * 12 + it[12:]
    rows = pair(tmp_path, it=it, im=im)
    each = found(tmp_path, rows)["im", "benchmarks", "piqa"].found
    apart = 100 * (0.25 / 40 + 0.25 / 40) ** 0.5
    assert each.stderr < 0.6 * apart and each.p < 0.05


def test_the_table_has_interval_and_star_of_the_test(tmp_path):
    rows = [base("piqa", 0.5), *pair(tmp_path)]
    known = by_cell(compared(rows, tmp_path / "store", WANTED))
    table = benchmark_table(rows, name="small", wanted=WANTED, tests=known)
    (difference,) = table.scored[2].differences
    assert difference.significant and difference.low < 45 < difference.high
    assert "95.00 (\u219145.00*)" in to_markdown(table)
    assert any(
        sentence.startswith("* p < 0.05, two-sided, over the same items") for sentence in table.caption
    )


def test_without_items_there_is_a_difference_and_no_test(tmp_path):
    rows = [row("piqa", 0.5), row("piqa", 0.9, loss="im")]
    each = found(tmp_path, rows)["im", "benchmarks", "piqa"]
    assert (each.found, each.p, each.note) == (None, None, NOT_AT_HAND)
    table = benchmark_table(rows, name="small", wanted=WANTED)
    assert "\u219140.00)" in to_markdown(table)
    assert "No difference is tested, as the items of these scores are not at hand." in table.caption


def test_no_common_items_are_told_and_no_test(tmp_path):
    rows = pair(tmp_path)
    keep(tmp_path, "piqaim0", IM, task="another")
    each = found(tmp_path, rows)["im", "benchmarks", "piqa"]
    assert each.found is None and "no common items" in each.note


def test_stars_are_adjusted_over_the_columns_of_the_table(tmp_path):
    """By Holm: the smallest p of three is multiplied by three, whatever the others are."""
    rows = [each for name in ("mmlu", "piqa", "winogrande") for each in pair(tmp_path, name)]
    each = found(tmp_path, rows)["im", "benchmarks", "piqa"]
    assert each.p == pytest.approx(3 * each.found.p)
    alone = found(tmp_path, pair(tmp_path))["im", "benchmarks", "piqa"]
    assert alone.p == alone.found.p


def test_a_mean_of_benchmarks_has_the_mean_of_their_differences_and_a_smaller_error(tmp_path):
    rows = [each for name in ("mmlu", "piqa") for each in pair(tmp_path, name)]
    known = found(tmp_path, rows)
    category, single = known["im", "categories", "knowledge"].found, known["im", "benchmarks", "piqa"].found
    assert category.difference == pytest.approx(45)
    assert category.stderr == pytest.approx(single.stderr / 2**0.5)
    assert known["im", "categories", "mean"].found is category


def test_a_category_is_not_tested_while_a_benchmark_of_it_is_not(tmp_path):
    rows = [*pair(tmp_path), row("mmlu", 0.5), row("mmlu", 0.9, loss="im")]
    assert found(tmp_path, rows)["im", "categories", "knowledge"].found is None


def test_an_error_rate_is_compared_as_it_is_shown(tmp_path):
    """TER: edits over words, in percent, from 100, at least 0."""
    rows = []
    for loss, edits in (("it", [8.0] * 20), ("im", [2.0] * 10 + [6.0] * 10)):
        keep(tmp_path, loss, edits, task="wmt14-fr-en", sizes=[10.0] * 20)
        rows.append(row("wmt14", 10 * share(edits), loss=loss, step=loss))
    each = found(tmp_path, rows)["im", "benchmarks", "wmt14"].found
    assert each.difference == pytest.approx(60 - 20)
    worse = [row("wmt14", 120.0, step="it"), row("wmt14", 150.0, loss="im", step="im")]
    for loss, edits in (("it", 12.0), ("im", 15.0)):
        keep(tmp_path, loss, [edits] * 20, task="wmt14-fr-en", sizes=[10.0] * 20)
    assert found(tmp_path, worse)["im", "benchmarks", "wmt14"].found.difference == 0


def test_a_benchmark_of_subtasks_is_drawn_by_subtasks(tmp_path):
    each = found(tmp_path, pair(tmp_path, "mmlu", clusters=[f"subject {n // 4}" for n in range(40)]))
    assert each["im", "benchmarks", "mmlu"].found.units == 10
    assert each["im", "benchmarks", "mmlu"].found.clustered


def test_humaneval_is_compared_at_its_own_temperature(tmp_path):
    rows = []
    for loss, outcomes in (("it", IT), ("im", IM)):
        keep(tmp_path, loss, outcomes, task="humaneval", metric="pass@1,temperature=0.1")
        rows.append(row("humaneval", share(outcomes), loss=loss, step=loss, metric="pass@1,temperature=0.1"))
        rows.append(
            row("humaneval", 1.0, loss=loss, step=loss, metric="pass@1,temperature=0.7", reading_note="p")
        )
    assert found(tmp_path, rows)["im", "benchmarks", "humaneval"].found.items == 40


def test_the_published_reading_is_not_tested(tmp_path):
    published = Report(baseline="it", reading="published")
    rows = pair(tmp_path)
    assert compared(rows, tmp_path / "store", published) == []
    table = category_table(rows, name="small", wanted=published, tests={})
    assert "No difference is tested: the published reading is no question to items." in table.caption


def test_seeds_together_have_the_variances_of_items_and_of_seeds_apart(tmp_path):
    worse = [1.0] * 30 + [0.0] * 10
    rows = [each for seed, im in enumerate((IM, IM, worse)) for each in pair(tmp_path, im=im, seed=seed)]
    known = compared(rows, tmp_path / "store", POOLED)
    (each,) = [one.found for one in known if one.column.id == "piqa" and one.family == "benchmarks"]
    assert each.seeds == 3 and each.difference == pytest.approx((45 + 45 + 25) / 3)
    assert each.seed_stderr > 0 and each.item_stderr > 0
    table = category_table(rows, name="small", wanted=POOLED, tests=by_cell(known))
    assert [(line.cell.seed, line.cell.loss) for line in table.scored] == [(None, "it"), (None, "im")]
    assert table.scored[1].differences[0].low == pytest.approx(each.low)
    assert any(sentence.startswith("Means over seeds 0, 1, 2") for sentence in table.caption)


def test_a_table_of_few_seeds_says_that_its_tests_are_somewhat_too_sure(tmp_path):
    def said(seeds):
        rows = [each for seed in range(seeds) for each in pair(tmp_path, seed=seed)]
        return [
            each
            for each in category_table(rows, name="s", wanted=POOLED).caption
            if each.startswith("So few seeds")
        ]

    assert [len(said(seeds)) for seeds in (2, 3, 4, 5)] == [1, 1, 0, 0]


def test_one_seed_has_no_variance_and_says_how_to_get_one(tmp_path):
    rows = pair(tmp_path)
    with pytest.raises(UserError, match=r"seed 0 alone, .* give the sweep others besides, seed=0,1,2"):
        category_table(rows, name="small", wanted=POOLED)
    assert "needs two seeds and more" in compared(rows, tmp_path / "store", POOLED)[0].note


def test_a_cell_without_a_baseline_of_its_own_is_compared_with_nothing(tmp_path):
    other = row("piqa", 0.1, loss="im", dataset="tydiqa", step="x")
    assert {each.cell for each in compared([*pair(tmp_path), other], tmp_path / "store", WANTED)} == {
        Cell("toy", "lima", "full", 0, None, "im", "toy-lima-im-0")
    }


def test_what_is_shown_is_what_is_tested(tmp_path):
    """IM has no verdict on half of the items: the difference is of the others, and the table says so."""

    def shown(rows):
        tests = by_cell(compared(rows, tmp_path / "store", WANTED))
        table = benchmark_table(rows, name="small", wanted=WANTED, tests=tests)
        return table.scored[1].differences[0], any("that both have: PIQA." in each for each in table.caption)

    assert not shown(pair(tmp_path))[1]
    rows = pair(tmp_path, im=[1.0] * 10 + [None] * 10 + [1.0] * 10 + [None] * 10)
    rows[1] = row("piqa", 1.0, loss="im", step="piqaim0", count=20, total=40)
    difference, said = shown(rows)
    assert difference.value == pytest.approx(50) and difference.low < 50 < difference.high and said


def test_a_star_falls_where_there_are_other_columns(tmp_path):
    """P is 2 / 2^6 = 0.031, by itself a star, and 0.094 among three."""
    it, im = [1.0] * 10 + [0.0] * 30, [1.0] * 16 + [0.0] * 24

    def star(*names):
        rows = [each for name in names for each in pair(tmp_path, name, it=it, im=im)]
        known = by_cell(compared(rows, tmp_path / "store", WANTED))
        table = benchmark_table(rows, name="small", wanted=WANTED, tests=known)
        return [(each.p, each.significant) for each in table.scored[1].differences]

    assert star("piqa") == [(pytest.approx(2 / 64), True)]
    assert star("mmlu", "piqa", "winogrande") == [(pytest.approx(6 / 64), False)] * 3


def test_a_table_with_fewer_columns_adjusts_over_no_fewer_tests(tmp_path):
    it, im = [1.0] * 10 + [0.0] * 30, [1.0] * 16 + [0.0] * 24
    rows = [each for name in ("mmlu", "piqa", "winogrande") for each in pair(tmp_path, name, it=it, im=im)]
    known = by_cell(compared(rows, tmp_path / "store", WANTED))
    alone = pivot(rows, Form(("loss",), ("benchmark",), ("piqa",)), name="s", wanted=WANTED, tests=known)
    assert [each.p for each in alone.lines[1].differences] == [pytest.approx(6 / 64)]


def test_points_of_mt_bench_stay_points(tmp_path):
    rows = []
    for loss, points in (("it", [4.0, 6.0] * 8), ("im", [5.0, 7.0] * 8)):
        keep(tmp_path, loss, points, task="mt_bench_math", clusters=[str(n // 2) for n in range(16)])
        rows.append(row("mt_bench", share(points), loss=loss, step=loss, metric="score", count=16, total=16))
    assert found(tmp_path, rows)["im", "benchmarks", "mt_bench"].found.difference == pytest.approx(1)


def test_a_damaged_file_of_items_costs_its_own_test_and_is_named(tmp_path):
    rows = [*pair(tmp_path), *pair(tmp_path, "mmlu")]
    (file,) = (tmp_path / "store").glob("*/*-piqaim0/items.parquet")
    file.write_bytes(b"not parquet")
    known = found(tmp_path, rows)
    assert known["im", "benchmarks", "mmlu"].found is not None
    assert known["im", "benchmarks", "piqa"].found is None
    assert str(file) in known["im", "benchmarks", "piqa"].note


def test_cells_that_differ_in_more_than_their_seed_are_not_taken_together():
    rows = [row("piqa", value, cell=f"lima-{value}") for value in (0.2, 0.8)]
    with pytest.raises(UserError, match="lima-0.2 and lima-0.8 differ in more than their seed"):
        category_table(rows, name="small", wanted=POOLED)


def test_the_error_of_several_seeds_has_that_of_items_and_that_of_seeds():
    """sqrt(mean of 3^2 and 4^2, plus the variance of 50 and 54, 8, over 2)."""
    rows = [row("piqa", 0.50, stderr=0.03, seed=0), row("piqa", 0.54, stderr=0.04, seed=1)]
    table = benchmark_table(rows, name="small", wanted=POOLED)
    assert table.scored[0].entries[0].stderr == pytest.approx((12.5 + 4) ** 0.5)
