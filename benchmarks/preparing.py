"""Seconds from files of conversations to what is trained on: im-bench, TRL and the published code.

im-bench reads, encodes and weighs for one loss, and (`im-bench all`) reads and encodes once for all losses of
conf/loss. TRL 1.16 reads with `datasets` and prepares for one loss (SFTTrainer): the loss on every token, or on
outputs (`assistant_only_loss`, which is IT). The published code tokenises each conversation and, for IT, every
prefix of it that ends before or after a turn. What each takes for files of eight conversations, where things are
made once, is subtracted.
"""

from __future__ import annotations

import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Any

import setting

SIDES = ("im-bench it", "im-bench all", "trl all tokens", "trl it", "published it")
MAX_TOKENS = 2048
# Tulu's template as TRL asks for it: it tells which tokens are the assistant's.
TULU_MARKED = (
    "{% for message in messages %}{% if not loop.first %}{{ '\\n' }}{% endif %}{{ '<|' + message['role'] + '|>\\n' }}"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] | trim + eos_token }}{% endgeneration %}"
    "{% else %}{{ message['content'] | trim }}{% endif %}{% endfor %}"
)


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
    ours = seconds[SIDES[0]]
    rows = [
        {"side": side, "seconds": taken, f"/ {SIDES[0]}": taken / ours} for side, taken in seconds.items()
    ]
    setting.show(rows, options.json)


def _side(options: Any) -> float:
    tokenizer = setting.tokenizer(options.shared)
    prepare = {
        "im-bench it": _ours("it"),
        "im-bench all": _ours("*"),
        "trl all tokens": _trl(outputs_only=False),
        "trl it": _trl(outputs_only=True),
        "published it": _published,
    }[options.side]
    files = [options.shared / "data" / "sft" / setting.FILES[name] for name in options.datasets]
    with tempfile.TemporaryDirectory() as folder:
        few = [_head(file, Path(folder), 8) for file in files]
        all_ = [_head(file, Path(folder), options.examples) for file in files] if options.examples else files
        return -_seconds(prepare, tokenizer, few, folder) + _seconds(prepare, tokenizer, all_, folder)


def _head(file: Path, folder: Path, count: int) -> Path:
    with file.open() as lines:
        head = folder / f"{count}-{file.name}"
        head.write_text("".join(islice(lines, count)))
    return head


def _seconds(prepare: Any, tokenizer: Any, files: list[Path], folder: str) -> float:
    start = time.monotonic()
    prepare(tokenizer, files, folder)
    return time.monotonic() - start


def _read(files: list[Path]) -> list[Any]:
    from im_bench.data.conversations import read_conversations

    return [one for file in files for one in read_conversations(file, "auto", allow_empty_output=True)]


def _ours(pattern: str) -> Any:
    from im_bench.composing import CONF, compose_training
    from im_bench.data.encoding import encode
    from im_bench.data.released import markers
    from im_bench.data.weights import weigh
    from im_bench.pipeline import loss_identity

    names = sorted(path.stem for path in (CONF / "loss").glob(f"{pattern}.yaml"))
    toy = ["model=toy", "dataset=toy_long"]
    losses = [loss_identity(compose_training([f"loss={name}", *toy]).loss) for name in names]

    def prepare(tokenizer: Any, files: list[Path], _: str) -> None:
        kept = encode(tokenizer, _read(files), max_tokens=MAX_TOKENS).kept
        found = markers(tokenizer)
        for loss in losses:
            for encoded in kept:
                weigh(encoded, loss, found)

    return prepare


def _trl(outputs_only: bool) -> Any:
    def prepare(tokenizer: Any, files: list[Path], folder: str) -> None:
        from datasets import concatenate_datasets, load_dataset
        from transformers import LlamaConfig, LlamaForCausalLM
        from trl import SFTConfig, SFTTrainer

        read = [
            load_dataset("json", data_files=str(file), split="train", cache_dir=folder).select_columns(
                "messages"
            )
            for file in files
        ]
        tokenizer.pad_token = tokenizer.eos_token
        if outputs_only:
            tokenizer.chat_template = TULU_MARKED
        shape = LlamaConfig(
            vocab_size=32000, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1
        )
        config = SFTConfig(
            output_dir=folder,
            max_length=MAX_TOKENS,
            assistant_only_loss=outputs_only,
            use_cpu=True,
            bf16=True,
            report_to=[],
        )
        SFTTrainer(
            LlamaForCausalLM(shape),
            args=config,
            train_dataset=concatenate_datasets(read),
            processing_class=tokenizer,
        )

    return prepare


def _published(tokenizer: Any, files: list[Path], _: str) -> None:
    from im_bench.data.templates import render

    for conversation in _read(files):
        turns = conversation.turns
        tokenizer(render(tokenizer, turns), truncation=True, max_length=MAX_TOKENS)
        for number, turn in enumerate(turns):
            if turn.role == "assistant":
                continue
            for prefix in (turns[:number], turns[: number + 1]):
                if prefix:
                    tokenizer(render(tokenizer, prefix), truncation=True, max_length=MAX_TOKENS)


if __name__ == "__main__":
    main()
