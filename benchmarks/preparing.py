"""Seconds from files of conversations to what is trained on: im-bench, TRL and the published code.

im-bench reads, encodes and weighs for one loss, and (`im-bench all`) encodes once for all losses of conf/loss. TRL 1.16
is given the rows in memory and prepares them for one loss (SFTTrainer, as it comes; what it takes to be made with eight
rows is subtracted). The published code tokenises each conversation and, for IT, every prefix of it that ends before or
after a turn.
"""

from __future__ import annotations

import tempfile
import time
from typing import Any

import setting

SIDES = ("im-bench", "im-bench all", "trl", "published")
MAX_TOKENS = 2048


def main() -> None:
    parser = setting.arguments(__doc__)
    parser.add_argument("--datasets", nargs="+", default=list(setting.FILES), choices=setting.FILES)
    parser.add_argument("--examples", type=int, help="of each dataset; all else")
    options = parser.parse_args()
    if options.side:
        print(f'{{"seconds": {_side(options)}}}')
        return
    more = ["--datasets", *options.datasets]
    more += ["--examples", str(options.examples)] if options.examples else []
    seconds = setting.medians(setting.take_turns(SIDES, options, *more), "seconds")
    row = {f"{side} s": seconds[side] for side in SIDES}
    setting.show(
        [row | {f"{side} /": seconds[side] / seconds["im-bench"] for side in SIDES[1:]}], options.json
    )


def _side(options: Any) -> float:
    tokenizer = setting.tokenizer(options.shared)
    tokenizer("a text, so that what is made once is there")
    if options.side.startswith("im-bench"):
        return _ours(tokenizer, options)
    return {"trl": _trl, "published": _published}[options.side](tokenizer, options)


def _conversations(options: Any) -> list[Any]:
    return [
        one
        for name in options.datasets
        for one in setting.conversations(options.shared, name, options.examples)
    ]


def _ours(tokenizer: Any, options: Any) -> float:
    from im_bench.composing import CONF, compose_training
    from im_bench.data.encoding import encode
    from im_bench.data.released import markers
    from im_bench.data.weights import weigh
    from im_bench.pipeline import loss_identity

    names = ["it"]
    if options.side == "im-bench all":
        names = [path.stem for path in sorted((CONF / "loss").glob("*.yaml")) if path.stem != "none"]
    losses = [
        loss_identity(compose_training([f"loss={name}", "model=toy", "dataset=toy_long"]).loss)
        for name in names
    ]
    start = time.monotonic()
    kept = encode(tokenizer, _conversations(options), max_tokens=MAX_TOKENS, where="benchmark").kept
    found = markers(tokenizer)
    for loss in losses:
        for encoded in kept:
            weigh(encoded, loss, found)
    return time.monotonic() - start


def _trl(tokenizer: Any, options: Any) -> float:
    rows = [
        {"messages": [{"role": turn.role, "content": turn.content} for turn in conversation.turns]}
        for conversation in _conversations(options)
    ]
    few = _trainer_seconds(tokenizer, rows[:8])
    return _trainer_seconds(tokenizer, rows) - few


def _trainer_seconds(tokenizer: Any, rows: list[Any]) -> float:
    from datasets import Dataset
    from transformers import LlamaConfig, LlamaForCausalLM
    from trl import SFTConfig, SFTTrainer

    tokenizer.pad_token = tokenizer.eos_token
    shape = LlamaConfig(
        vocab_size=32000, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1
    )
    model, dataset = LlamaForCausalLM(shape), Dataset.from_list(rows)
    with tempfile.TemporaryDirectory() as out:
        config = SFTConfig(output_dir=out, max_length=MAX_TOKENS, use_cpu=True, bf16=True, report_to=[])
        start = time.monotonic()
        SFTTrainer(model, args=config, train_dataset=dataset, processing_class=tokenizer)
        return time.monotonic() - start


def _published(tokenizer: Any, options: Any) -> float:
    from im_bench.data.templates import render

    start = time.monotonic()
    for conversation in _conversations(options):
        turns = conversation.turns
        tokenizer(render(tokenizer, turns), truncation=True, max_length=MAX_TOKENS)
        for number, turn in enumerate(turns):
            if turn.role == "assistant":
                continue
            for prefix in (turns[:number], turns[: number + 1]):
                if prefix:
                    tokenizer(render(tokenizer, prefix), truncation=True, max_length=MAX_TOKENS)
    return time.monotonic() - start


if __name__ == "__main__":
    main()
