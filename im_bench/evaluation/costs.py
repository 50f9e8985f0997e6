"""What asking a model, and then a judge, the 21 benchmarks takes: how many items, and how many tokens.

Items are those of the official data. Tokens are means in those of Llama-2's tokenizer over real rows, with the shots of
conf/benchmark; read ones have the BOS. What a model will write is foretold by what others have written: the gold
answers of WMT, CoQA, GSM8K and HumanEval (of the last a lower bound, a chat model explains), the exemplars of BBH, and
the real answers of four models to MT-Bench and of text-davinci-003 and others to AlpacaEval.
"""

from __future__ import annotations

from typing import NamedTuple

from im_bench.config import AlpacaEval, Benchmark, Engine, Harness, HumanEval, MTBench


class Cost(NamedTuple):
    """Of one benchmark, where nothing but its shots is said of it."""

    items: tuple[int, ...]
    """Of each task, for `limit` is of each."""
    passes: float
    """Forward passes of engine=hf for one item; one-token choices of one context share theirs."""
    read: float
    """Tokens of such a pass."""
    requests: float = 1.0
    """For one item, of engines that answer each alone; HumanEval's are one for each sample and temperature."""
    read_alone: float | None = None
    """Tokens of such a request, where it is not `read`."""
    written: float = 0.0
    """Tokens of an answer."""
    longest: float = 0.0
    """Tokens of the longest of 64 answers: engine=hf generates in batches, which end when their slowest row does."""
    shots: int = 0
    """With which this was measured; of a task that says so itself, its own."""


MMLU = (
    *(100, 135, 152, 100, 265, 144, 100, 100, 100, 173, 102, 100, 235, 114, 145, 378, 126, 100, 310, 203),
    *(100, 165, 198, 193, 390, 270, 238, 151, 545, 216, 204, 237, 223, 131, 121, 108, 163, 112, 103, 234),
    *(100, 783, 346, 895, 306, 311, 324, 282, 1534, 272, 612, 110, 245, 201, 100, 166, 171),
)
BBH = (*(250,) * 24, 146, 178, 187)
ALPACA_EVAL = Cost((805,), 1, 55.6, written=147, longest=715)

COSTS: dict[str, Cost] = {
    "mmlu": Cost(MMLU, 1, 804, requests=4, read_alone=805, shots=5),
    "piqa": Cost((1838,), 2, 484, requests=2, shots=10),
    "openbookqa": Cost((500,), 3.57, 17.8, requests=4),
    "hellaswag": Cost((10042,), 4, 994, requests=4, shots=10),
    "lambada": Cost((5153, 5153), 1, 88.5),
    "lambada_multilingual": Cost((5153,) * 5, 1, 109),
    "wmt14": Cost((3003, 3003), 1, 42.5, written=34, longest=85.1),
    "wmt16": Cost((2999, 2999, 1999, 1999), 1, 42.4, written=33.7, longest=89.9),
    "wsc273": Cost((273,), 2, 23.6, requests=2),
    "winogrande": Cost((1267,), 2, 163, requests=2, shots=5),
    "arc": Cost((2376, 1172), 3.80, 983, requests=4, shots=25),
    "coqa": Cost((500,), 1, 703, written=4.72, longest=4.72),
    "gsm8k": Cost((1319,), 1, 829, written=101, longest=235, shots=8),
    "humaneval": Cost((164,), 1, 157, written=65.9, longest=224),
    "bbh": Cost(BBH, 1, 1024, written=180, longest=661, shots=3),
    "truthfulqa": Cost((817,), 7.24, 211, requests=7.24),
    "toxigen": Cost((940,), 1, 44.1, requests=2),
    "ethics": Cost((3885, 3596, 2704, 4808, 4975), 1.316, 74.5, requests=2, read_alone=84.3),
    "mt_bench": Cost((10,) * 8, 2, 255, requests=2, written=288, longest=970),
    "alpaca_eval_1": ALPACA_EVAL,
    "alpaca_eval_2": ALPACA_EVAL,
}


class Verdict(NamedTuple):
    """What a judge reads and writes for one verdict, in tokens of the same tokenizer."""

    for_item: int
    """Verdicts on the answers to one item."""
    read: float
    """The messages, with answers as of the cost above."""
    answers: float
    """How many answers of the model's are in them."""
    written: float


VERDICTS: dict[str, Verdict] = {
    "mt_bench": Verdict(2, 860, 1.5, 189),
    "alpaca_eval_1": Verdict(1, 606, 1, 36),
    "alpaca_eval_2": Verdict(1, 1022, 1, 1),
}
RANKING_WRITTEN = 36
"""Tokens of a verdict of AlpacaEval 2.0 by the ranking prompt."""


class Amount(NamedTuple):
    """Tokens that a model reads, and writes."""

    read: float
    written: float


def items(name: str, limit: int | None) -> int:
    """How many items are asked, at most `limit` of each task."""
    return sum(each if limit is None else min(each, limit) for each in COSTS[name].items)


def amount(name: str, spec: Benchmark, engine: Engine, limit: int | None) -> Amount:
    """Tokens of one benchmark of one checkpoint; those that a batch waits for are written too.

    With other shots than those measured, a prompt is as many examples and one item as it has, all alike.
    """
    cost, hf = COSTS[name], engine.kind == "hf"
    requests = items(name, limit) * _for_item(cost, spec, hf=hf)
    read = cost.read if hf or cost.read_alone is None else cost.read_alone
    if isinstance(spec, Harness) and spec.shots is not None:
        read *= (spec.shots + 1) / (cost.shots + 1)
    written = cost.longest if hf else cost.written
    if isinstance(spec, HumanEval | MTBench | AlpacaEval):
        written = min(written, spec.max_new_tokens)
    return Amount(requests * read, requests * written)


def _for_item(cost: Cost, spec: Benchmark, *, hf: bool) -> float:
    if isinstance(spec, HumanEval):
        return spec.samples * len(spec.temperatures)
    return cost.passes if hf else cost.requests


def judged(name: str, spec: MTBench | AlpacaEval, *, ranking: bool) -> Amount:
    """Tokens of one verdict; answers that may not be as long as usual make it shorter."""
    verdict, written = VERDICTS[name], COSTS[name].written
    spared = max(0.0, written - spec.max_new_tokens) * verdict.answers
    said = RANKING_WRITTEN if ranking else verdict.written
    return Amount(verdict.read - spared, said)
