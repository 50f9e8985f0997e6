"""What must be said under a table so that its numbers are not misread."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from im_bench.analysis.measures import ANALYSIS, HELDOUT, HELDOUT_NEW, LENGTHS
from im_bench.config import Report
from im_bench.report.collect import Row
from im_bench.report.readings import WMT, Entry, Reading
from im_bench.report.words import BENCHMARKS, CATEGORIES, MEAN, benchmark_column, listed

PARTIAL_MARK = "\u2020"
"""A dagger: the number rests on fewer outcomes than items."""
SUSPECT_MARK = "\u2021"
"""A double dagger: a number that the paper prints, and that is not to be believed."""


SAME_ITEMS = {HELDOUT_NEW: HELDOUT, "alpaca_eval_2_length_controlled": "alpaca_eval_2"}
"""Tasks whose items are those of another, or some of them."""


def caption(
    entries: Iterable[Entry], asked: Mapping[str, Sequence[str]], reading: Reading
) -> tuple[str, ...]:
    """Sentences on unit, reading, judges, versions, counts and gaps, each only where it applies."""
    shown = list(entries)
    used = sorted({row for entry in shown for row in entry.rows}, key=lambda row: row.place)
    benchmarks = {benchmark for group in asked.values() for benchmark in group}
    return (
        *_units(benchmarks),
        *_reading(benchmarks, used, reading),
        *_judges(used),
        *_versions(used),
        *_analyses(used),
        *_bill(used),
        *_notes(used),
        *_items(used),
        *_partial(row for entry in shown if entry.partial for row in entry.rows),
        *_truncated(used),
        *_suspects(shown),
        *_gaps(shown),
    )


def tested_how(adjusted: Sequence[float | None], shared: Sequence[str], wanted: Report) -> list[str]:
    """What a star means, of the adjusted p-values of the differences that are shown.

    Args:
        shared: headings of columns in which a difference is of fewer items than the scores are.
    """
    tested = [p for p in adjusted if p is not None]
    if not adjusted:
        return []
    if wanted.reading == "published":
        return ["No difference is tested: the published reading is no question to items."]
    if not tested:
        return ["No difference is tested, as the items of these scores are not at hand."]
    some = f" ({len(tested)} of {len(adjusted)} are tested)" if len(tested) < len(adjusted) else ""
    alone = "items alone, and not of training again with another seed"
    both = "Where one loss lacks items or seeds of the other, the difference is of those that both have"
    return [
        "* p < 0.05, two-sided, over the same items under both losses, adjusted by Holm over the tested scores of a "
        f"cell{some}; the chance is that of {'items and seeds' if wanted.seeds == 'pooled' else alone}.",
        *([f"{both}: {', '.join(shared)}."] if shared else []),
    ]


OF_THE_PAPER: tuple[tuple[frozenset[str], str], ...] = (
    (
        frozenset((*(each.id for each in CATEGORIES), MEAN.id)),
        "means are of all 18 NLP benchmarks, and computed from the categories where these are printed",
    ),
    (
        frozenset(("multilingual", MEAN.id)),
        "TER, an error rate, counts as a gain in Multilinguality and in Mean",
    ),
    (frozenset(("math_code", MEAN.id)), "HumanEval is the better of two temperatures"),
    (frozenset(("mt_bench", "alpaca_eval_1")), "GPT-4 judged MT-Bench and AlpacaEval 1.0"),
    (frozenset(("alpaca_eval_2",)), "GPT-4 Turbo judged AlpacaEval 2.0"),
    (
        frozenset((f"{HELDOUT}_output_loss_per_example",)),
        "what is held out, a tenth of Tulu V2, holds the training sets",
    ),
    (frozenset(("train_bleu_sentence",)), "whether BLEU is of the corpus or a mean of sentences is not said"),
)
"""What is to be known of the paper's numbers, by the columns that it is of."""


def of_the_paper(columns: Collection[str], *, alone: bool) -> list[str]:
    """What the numbers are that the paper prints in these columns.

    Args:
        alone: whether none of ours stand beside them, whose units would be told.
    """
    if not columns:
        return []
    facts = [fact for concerned, fact in OF_THE_PAPER if not concerned.isdisjoint(columns)]
    scores = {*(each.id for each in CATEGORIES), MEAN.id, *(each.id for each in BENCHMARKS)} & {*columns}
    units = list(_units(scores)) if alone else []
    return ["; ".join(["Of the paper: numbers that it prints (LLaMA-2-7B)", *facts]) + ".", *units]


def left_out(asked: Mapping[str, Sequence[str]]) -> list[str]:
    """Which benchmarks are in no mean, as nobody was asked them; or which were asked, where those are fewer."""
    benchmarks = {benchmark for group in asked.values() for benchmark in group}
    paper = {column.id for column in BENCHMARKS}
    if paper <= benchmarks:
        return []
    if len(paper - benchmarks) > len(paper & benchmarks):
        return [f"Asked of the {len(paper)} benchmarks: {listed(benchmarks & paper) or 'none'}."]
    return [f"Not asked, and in no mean: {listed(paper - benchmarks)}."]


def _units(benchmarks: set[str]) -> Iterator[str]:
    if benchmarks == {"mt_bench"}:
        yield "Scores are points from 1 to 10."
    elif benchmarks:
        points = ", those of MT-Bench points from 1 to 10" if "mt_bench" in benchmarks else ""
        yield f"Scores are in percent{points}."


def _reading(benchmarks: set[str], used: Iterable[Row], reading: Reading) -> list[str]:
    """How the benchmarks are read of which there are two readings."""
    facts = []
    wmt = listed(benchmarks & set(WMT))
    if wmt and reading == "corrected":
        facts.append(f"{wmt} as 100 - TER, at least 0")
    if wmt and reading == "published":
        facts.append(
            f"{wmt} as one score of their category, the mean TER of the translation tasks, counted as a gain"
        )
    if "humaneval" in benchmarks and reading == "published":
        facts.append("HumanEval as the better of its temperatures")
    if "humaneval" in benchmarks and reading == "corrected":
        metrics = sorted({row.metric for row in used if row.benchmark == "humaneval"})
        stated = " or ".join(metric.replace(",", " at ").replace("=", " ") for metric in metrics)
        facts.append(f"HumanEval as {stated or 'pass@1 at one temperature'}")
    start = (
        "Reading: corrected"
        if reading == "corrected"
        else "Reading: published, as the paper's code computes it"
    )
    return [f"{'; '.join([start, *facts])}."] if facts else []


def _analyses(used: Iterable[Row]) -> list[str]:
    """What the numbers of analyses are, and which way they say what."""
    found = {row.benchmark for row in used if row.category == ANALYSIS}
    if not found - {LENGTHS}:
        return []
    return [
        "Losses and KL are in nats. Of a loss on what was held out, of BLEU and of what is given back, less is less "
        "overfitting; a training loss is neither good nor bad."
    ]


def _judges(used: Iterable[Row]) -> list[str]:
    """Who judged what, unless the benchmark's own note says it."""
    judged: dict[str, set[str]] = {}
    for row in used:
        if row.judge is not None and f"judge: {row.judge}" not in (row.reading_note or ""):
            judged.setdefault(row.judge, set()).add(row.benchmark)
    return [f"Judged by {judge}: {listed(benchmarks)}." for judge, benchmarks in sorted(judged.items())]


def _versions(used: Iterable[Row]) -> list[str]:
    """Of the tasks that are not of one version."""
    found: dict[str, set[str]] = {}
    for row in used:
        if row.version and row.value is not None:
            found.setdefault(row.benchmark, set()).add(row.version)
    return [
        f"{listed([benchmark])}: versions {' and '.join(sorted(versions))} of its task are mixed."
        for benchmark, versions in found.items()
        if len(versions) > 1
    ]


def _suspects(shown: Iterable[Entry]) -> list[str]:
    """Why printed numbers are marked."""
    return [
        f"{SUSPECT_MARK} suspect: {why}."
        for why in dict.fromkeys(entry.suspect for entry in shown if entry.suspect)
    ]


def _bill(used: Iterable[Row]) -> list[str]:
    """What the verdicts of all cells took, as far as their judges said; a step that cells share counts once."""
    billed = list({row.step: row for row in used if row.judge_prompt_tokens is not None}.values())
    if not billed:
        return []
    tokens = [
        sum(getattr(row, field) or 0 for row in billed)
        for field in ("judge_prompt_tokens", "judge_answer_tokens")
    ]
    costs = [row.judge_cost for row in billed]
    known = [cost for cost in costs if cost is not None]
    dollars = f", {sum(known):.2f} USD" if known and len(known) == len(costs) else ""
    return [f"The judge read {tokens[0]:,} tokens and wrote {tokens[1]:,}{dollars}."]


def _notes(used: Iterable[Row]) -> list[str]:
    noted: dict[str, set[str]] = {}
    for row in used:
        if row.reading_note is not None:
            noted.setdefault(row.reading_note, set()).add(row.benchmark)
    return [f"{listed(benchmarks)}: {note.rstrip('.')}." for note, benchmarks in noted.items()]


def _items(used: Iterable[Row]) -> list[str]:
    """How many items a benchmark has; the largest over the cells where they differ.

    Several numbers may be of the same items: those of an analysis, and a length-controlled win rate.
    """
    per_task: dict[tuple[str, str], dict[str, int]] = {}
    for row in used:
        if row.benchmark != LENGTHS:
            task = SAME_ITEMS.get(row.task, row.task)
            tasks = per_task.setdefault((row.benchmark, row.cell), {})
            tasks[task] = max(row.total, tasks.get(task, 0))
    totals: dict[str, int] = {}
    for (benchmark, _), tasks in per_task.items():
        totals[benchmark] = max(sum(tasks.values()), totals.get(benchmark, 0))
    if not totals:
        return []
    start = f"Items per cell: {sum(totals.values())}"
    if len(totals) == 1:
        return [f"{start}."]
    if len(set(totals.values())) == 1:
        return [f"{start}; per benchmark {min(totals.values())}."]
    fewest, most = min(totals, key=lambda name: totals[name]), max(totals, key=lambda name: totals[name])
    ends = [f"{totals[name]} ({benchmark_column(name).heading})" for name in (fewest, most)]
    return [f"{start}; per benchmark {' to '.join(ends)}."]


def _partial(used: Iterable[Row]) -> list[str]:
    worst: dict[str, Row] = {}
    for row in used:
        if row.value is None or row.count >= row.total:
            continue
        known = worst.get(row.benchmark)
        if known is None or row.count * known.total < known.count * row.total:
            worst[row.benchmark] = row
    facts = [
        f"{benchmark_column(name).heading} {row.count} of {row.total}" for name, row in sorted(worst.items())
    ]
    start = f"{PARTIAL_MARK} some items have no outcome and no part in the score; at the fewest"
    return [f"{start} {', '.join(facts)}."] if facts else []


def _truncated(used: Iterable[Row]) -> list[str]:
    worst: dict[str, Row] = {}
    for row in used:
        if row.truncated > (worst[row.benchmark].truncated if row.benchmark in worst else 0):
            worst[row.benchmark] = row
    facts = [
        f"{benchmark_column(name).heading} {row.truncated} of {row.total}"
        for name, row in sorted(worst.items())
    ]
    start = "Prompts longer than the model's context lost their beginning; at the most in"
    return [f"{start} {', '.join(facts)}."] if facts else []


def _gaps(shown: Iterable[Entry]) -> list[str]:
    if all(entry.value is not None for entry in shown):
        return []
    return ["n/a: a score is missing, and what is made of it."]
