"""The names that tables and figures show for categories and benchmarks, and their order: the paper's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Column(NamedTuple):
    """A column of a table: its id in the ledger, its heading, and one for narrow places."""

    id: str
    heading: str
    short: str


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
