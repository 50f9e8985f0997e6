"""The paper's tables besides Table 1, as forms of the same numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from im_bench.analysis.measures import LENGTHS
from im_bench.report.cells import ANY
from im_bench.report.collect import Row
from im_bench.report.pivot import Form
from im_bench.report.words import MEAN

FORMS: dict[int, Form] = {
    2: Form(
        ("benchmark", "loss"),
        ("dataset",),
        ("train_bleu_corpus", "train_bleu_sentence", "train_exact", "train_eight_grams"),
        "In the form of Table 2: how much of the training outputs is given back to their instructions.",
    ),
    3: Form(
        ("dataset", "loss"),
        ("benchmark",),
        (MEAN.id, "alpaca_eval_1", "alpaca_eval_2"),
        "In the form of Table 3, whose columns are rows here.",
    ),
    4: Form(
        ("benchmark", "loss"),
        ("dataset",),
        ("alpaca_eval_1", MEAN.id),
        "In the form of Table 4.",
    ),
    7: Form(
        ("benchmark",),
        ("loss",),
        (MEAN.id, "alpaca_eval_1", "alpaca_eval_2"),
        "In the form of Table 7.",
    ),
}


def available(form: Form, columns: Iterable[str]) -> Form | None:
    """The form of those of its columns that there are; None of none."""
    there = set(columns)
    of = tuple(each for each in form.of if each in there)
    return form._replace(of=of) if of else None


def datasets_of(rows: Sequence[Row]) -> list[Row]:
    """The lengths of each dataset and subset once, whatever was trained on it: the rows of Table 5."""
    found: dict[tuple[str | None, str | None, str], Row] = {}
    for row in rows:
        if row.benchmark == LENGTHS:
            same = replace(row, model="", loss=ANY, seed=0, epoch=None, cell=f"{row.dataset} {row.subset}")
            found.setdefault((row.dataset, row.subset, row.metric), same)
    return list(found.values())


TABLE_5 = "In the form of Table 5: lengths in words, as the paper counts them: by white space, each role's tag a word."
