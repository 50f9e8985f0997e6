"""The names that tables and figures show for categories and benchmarks, and their order: the paper's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple


class Column(NamedTuple):
    """A column of a table: its id in the ledger, its heading, and one for narrow places."""

    id: str
    heading: str
    short: str
    digits: int = 2
    """After the point."""
    better: Literal["higher", "lower", "neither"] = "higher"
    """As shown: in the corrected reading an error rate is shown as its complement."""


CATEGORIES = (
    Column("knowledge", "Understanding & Knowledge", "Know."),
    Column("multilingual", "Multilinguality", "Multi."),
    Column("commonsense", "Commonsense", "Comm."),
    Column("math_code", "Math & Code", "Math"),
    Column("bbh", "BBH", "BBH"),
    Column("safety", "Safety & Helpfulness", "Safety"),
)

BENCHMARKS = (
    Column("mmlu", "MMLU", "MMLU"),
    Column("piqa", "PIQA", "PIQA"),
    Column("openbookqa", "OpenBookQA", "OBQA"),
    Column("hellaswag", "HellaSwag", "HSwag"),
    Column("lambada", "LAMBADA", "LAMB"),
    Column("lambada_multilingual", "LAMBADA Multilingual", "LAMB-M"),
    Column("wmt14", "WMT14", "WMT14"),
    Column("wmt16", "WMT16", "WMT16"),
    Column("wsc273", "WSC273", "WSC"),
    Column("winogrande", "WinoGrande", "WinoG"),
    Column("arc", "ARC", "ARC"),
    Column("coqa", "CoQA", "CoQA"),
    Column("gsm8k", "GSM8K", "GSM8K"),
    Column("humaneval", "HumanEval", "HEval"),
    Column("bbh", "BBH", "BBH"),
    Column("truthfulqa", "TruthfulQA", "TQA"),
    Column("toxigen", "ToxiGen", "ToxiG"),
    Column("ethics", "ETHICS", "ETHICS"),
    Column("mt_bench", "MT-Bench", "MT-B"),
    Column("alpaca_eval_1", "AlpacaEval 1.0", "AE 1.0"),
    Column("alpaca_eval_2", "AlpacaEval 2.0", "AE 2.0"),
)

LENGTH_CONTROLLED = Column("alpaca_eval_2_length_controlled", "AlpacaEval 2.0 LC", "AE2 LC")
MEAN = Column("mean", "Mean", "Mean")

_SETS = {"train": "Training", "heldout": "Held-out", "heldout_new": "New held-out"}
_LOSSES = tuple(
    Column(
        f"{set_}_{part}_loss_per_{unit}",
        f"{name} loss, {part}, per {unit}",
        f"{set_} {part}/{unit}",
        3,
        "neither" if set_ == "train" else "lower",
    )
    for set_, name in _SETS.items()
    for part in ("output", "instruction")
    for unit in ("token", "example")
)
_DRIFT = tuple(
    Column(
        f"{set_}_output_kl_per_token", f"{name} KL to the base model, per token", f"{set_} KL", 3, "neither"
    )
    for set_, name in _SETS.items()
)
ANALYSES = (
    *_LOSSES,
    *_DRIFT,
    Column("heldout_overlap", "Held-out conversations in training", "overlap", 4, "lower"),
    Column("train_bleu_corpus", "BLEU against training outputs, corpus", "BLEU", 2, "lower"),
    Column(
        "train_bleu_sentence", "BLEU against training outputs, mean of sentences", "BLEU sent.", 2, "lower"
    ),
    Column("train_exact", "Training outputs given word for word", "exact", 4, "lower"),
    Column(
        "train_eight_grams", "Runs of eight words of training outputs that are given", "8-grams", 4, "lower"
    ),
    Column("words_examples", "Examples", "N", 0, "neither"),
    Column("words_total_mean", "Total", "total", 2, "neither"),
    Column("words_output_mean", "Output", "output", 2, "neither"),
    Column("words_output_std", "Output std", "out. sd", 2, "neither"),
    Column("words_instruction_mean", "Instruction", "instr.", 2, "neither"),
    Column("words_instruction_std", "Instruction std", "instr. sd", 2, "neither"),
    Column("words_output_over_instruction", "Output/Instruction", "O/I", 4, "neither"),
    Column("words_instruction_over_output", "Instruction/Output", "I/O", 4, "neither"),
)
"""What analyses find out: `task_metric` of their rows. Losses and KL are in nats, lengths in words."""

_by_id = {column.id: column for column in BENCHMARKS}
_rank = {column.id: rank for rank, column in enumerate(BENCHMARKS)}


def benchmark_column(benchmark: str) -> Column:
    """The column of a benchmark; one that is not of the paper goes by its id."""
    return _by_id.get(benchmark, Column(benchmark, benchmark, benchmark))


def in_order(benchmarks: Iterable[str]) -> tuple[str, ...]:
    """Without repetition, the paper's first and in its order, then the others by name."""
    return tuple(sorted(set(benchmarks), key=lambda benchmark: (_rank.get(benchmark, len(_rank)), benchmark)))


def listed(benchmarks: Iterable[str]) -> str:
    """Headings in the paper's order, separated by commas."""
    return ", ".join(benchmark_column(benchmark).heading for benchmark in in_order(benchmarks))
