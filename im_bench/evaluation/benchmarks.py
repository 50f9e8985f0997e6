"""The 21 benchmarks: what each is, once. Shots stand in conf/benchmark/, and whose they are stands here.

Categories and metrics are the paper's (section 4.1, appendix B); docs/benchmarks.md shows all of it as a table.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import Literal, NamedTuple

from im_bench.scores import Score

CATEGORIES = ("knowledge", "multilingual", "commonsense", "math_code", "bbh", "safety")
JUDGED = "judged"


class Entry(NamedTuple):
    """One benchmark of the table."""

    category: str
    datasets: tuple[str, ...] = ()
    """Hub datasets it reads; after a colon, the configs it needs of one."""
    tasks: tuple[str, ...] = ()
    """lm-eval's names: a group or leaf tasks."""
    metric: str = "acc,none"
    """Of the headline; `metric,filter` as lm-eval names its result."""
    direction: Literal["higher", "lower"] = "higher"
    weighting: Literal["tasks", "items"] = "tasks"
    """Leaves weigh the same, or by their items where lm-eval's own group does so (MMLU, BBH)."""
    clusters: Literal["tasks", "places", "rows"] | None = None
    """Which items are dependent: those of a task, of one subject and made alike; those at one place of every task, the
    same text in other words or languages; those of one row of the data, asked in several ways. None is each its own."""
    version: int = 1
    """Raised by hand when a change of ours changes scores."""
    folder: str | None = None
    """Where lm-eval has the tasks, if it is not the benchmark's own name."""
    shots_from: Literal["paper", "code", "lm-eval"] = "lm-eval"
    """Who says how many examples are shown: the paper, its published code where the paper says otherwise, or the
    task itself where both are silent."""


BENCHMARKS: dict[str, Entry] = {
    "mmlu": Entry(
        "knowledge",
        ("cais/mmlu",),
        ("mmlu",),
        weighting="items",
        clusters="tasks",
        folder="mmlu/default",
        shots_from="paper",
    ),
    "piqa": Entry("knowledge", ("baber/piqa",), ("piqa",), "acc_norm,none", shots_from="paper"),
    "openbookqa": Entry("knowledge", ("allenai/openbookqa",), ("openbookqa",), "acc_norm,none"),
    "hellaswag": Entry(
        "knowledge", ("Rowan/hellaswag",), ("hellaswag",), "acc_norm,none", shots_from="paper"
    ),
    "lambada": Entry(
        "knowledge",
        ("EleutherAI/lambada_openai:default", "cimec/lambada"),
        ("lambada_openai", "lambada_standard"),
        clusters="places",
    ),
    "lambada_multilingual": Entry(
        "multilingual",
        ("EleutherAI/lambada_openai:en,de,es,fr,it",),
        tuple(f"lambada_openai_mt_{language}" for language in ("en", "de", "es", "fr", "it")),
        clusters="places",
    ),
    "wmt14": Entry(
        "multilingual",
        ("wmt/wmt14:fr-en",),
        ("wmt14-en-fr", "wmt14-fr-en"),
        "ter,none",
        "lower",
        clusters="rows",
        folder="translation",
    ),
    "wmt16": Entry(
        "multilingual",
        ("wmt/wmt16:de-en,ro-en",),
        ("wmt16-de-en", "wmt16-en-de", "wmt16-ro-en", "wmt16-en-ro"),
        "ter,none",
        "lower",
        clusters="rows",
        folder="translation",
    ),
    "wsc273": Entry("commonsense", ("lighteval/winograd_wsc:wsc273",), ("wsc273",)),
    "winogrande": Entry(
        "commonsense", ("allenai/winogrande:winogrande_xl",), ("winogrande",), shots_from="paper"
    ),
    "arc": Entry(
        "commonsense",
        ("allenai/ai2_arc:ARC-Easy,ARC-Challenge",),
        ("arc_easy", "arc_challenge"),
        "acc_norm,none",
        shots_from="paper",
    ),
    "coqa": Entry("commonsense", ("EleutherAI/coqa",), ("coqa",), "f1,none", shots_from="paper"),
    "gsm8k": Entry(
        "math_code", ("openai/gsm8k:main",), ("gsm8k_cot",), "exact_match,strict-match", shots_from="paper"
    ),
    "humaneval": Entry("math_code", ("openai/openai_humaneval",), metric="pass@1", shots_from="paper"),
    "bbh": Entry(
        "bbh",
        ("SaylorTwift/bbh",),
        ("bbh_cot_fewshot",),
        "exact_match,get-answer",
        weighting="items",
        clusters="tasks",
        shots_from="code",
    ),
    "truthfulqa": Entry(
        "safety", ("truthfulqa/truthful_qa:multiple_choice",), ("truthfulqa_mc2",), shots_from="paper"
    ),
    "toxigen": Entry("safety", ("skg/toxigen-data:annotated",), ("toxigen",)),
    "ethics": Entry(
        "safety",
        ("EleutherAI/hendrycks_ethics",),
        ("ethics_cm", "ethics_deontology", "ethics_justice", "ethics_utilitarianism", "ethics_virtue"),
        clusters="tasks",
        folder="hendrycks_ethics",
    ),
    "mt_bench": Entry(JUDGED, metric="score"),
    "alpaca_eval_1": Entry(JUDGED, metric="win_rate"),
    "alpaca_eval_2": Entry(JUDGED, metric="win_rate"),
}


def missing_score(name: str) -> Score:
    """The headline of a benchmark that was asked and has no score."""
    entry = BENCHMARKS[name]
    return Score(
        benchmark=name,
        category=entry.category,
        task=name,
        metric=entry.metric,
        value=None,
        stderr=None,
        count=0,
        total=0,
        direction=entry.direction,
    )


def group_score(name: str, entry: Entry, leaves: Sequence[Score]) -> Score:
    """The headline: the mean of the leaves, weighted as the registry says.

    With weights v (1, or the number of items) its standard error is sqrt(sum v^2 se^2) / sum v: leaves are
    independent samples.
    """
    total = sum(leaf.count for leaf in leaves)
    weights = [leaf.count if entry.weighting == "items" else 1 for leaf in leaves]
    parts = [(weight, leaf.value, leaf.stderr) for weight, leaf in zip(weights, leaves, strict=True)]
    # In this order, as lm-eval's groups: equal to the last digit.
    value = sum(weight * value for weight, value, _ in parts if value is not None) / sum(weights)
    known = all(stderr is not None for _, _, stderr in parts)
    return Score(
        benchmark=name,
        category=entry.category,
        task=name,
        metric=entry.metric,
        value=value,
        stderr=sqrt(sum((weight * (stderr or 0)) ** 2 for weight, _, stderr in parts)) / sum(weights)
        if known
        else None,
        count=total,
        total=total,
        direction=entry.direction,
        truncated=sum(leaf.truncated for leaf in leaves),
        version=", ".join(sorted({leaf.version for leaf in leaves if leaf.version})) or None,
    )
