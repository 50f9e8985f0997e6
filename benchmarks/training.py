"""Training tokens per second: im-bench, the published recipe and TRL, on the same examples.

All sides train the same Llama of 7 million parameters from the same random weights, in bf16 (autocast over fp32
weights), with a global batch of 64. Speed is that of the second of two epochs, in tokens of conversations, padding not
counted. Each measurement is a process of its own.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import setting

SIDES = ("im-bench", "published", "trl", "trl_packing")
EPOCHS, GLOBAL_BATCH, MAX_TOKENS = 2, 64, 512


def main() -> None:
    parser = setting.arguments(__doc__)
    parser.add_argument("--datasets", nargs="+", default=["lima", "dolly_3k"], choices=setting.FILES)
    parser.add_argument("--losses", nargs="+", default=["it", "im"], choices=["it", "im"])
    parser.add_argument("--sides", nargs="+", default=SIDES, choices=SIDES)
    parser.add_argument("--examples", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    if options.side:
        print(f'{{"tokens_per_second": {_side(options)}}}')
        return
    rows: list[dict[str, Any]] = []
    for dataset in options.datasets:
        for loss in options.losses:
            more = ["--datasets", dataset, "--losses", loss, "--examples", str(options.examples)]
            found = setting.take_turns(options.sides, options, *more, "--threads", str(options.threads))
            speeds = setting.medians(found, "tokens_per_second")
            row = {"dataset": dataset, "loss": loss} | speeds
            rows.append(row | {f"/ {side}": speeds["im-bench"] / speeds[side] for side in options.sides[1:]})
    setting.show(rows, options.json)


def _side(options: Any) -> float:
    import torch

    from im_bench.data.encoding import encode

    torch.set_num_threads(options.threads)
    tokenizer = setting.tokenizer(options.shared)
    drawn = setting.conversations(options.shared, options.datasets[0], options.examples)
    encoding = encode(tokenizer, drawn, max_tokens=MAX_TOKENS)
    kept = {encoded.row for encoded in encoding.kept}
    conversations = [conversation for conversation in drawn if conversation.row in kept]
    examples = _examples(encoding, options.losses[0])
    torch.manual_seed(0)
    run = {"im-bench": _ours, "published": _published, "trl": _trl, "trl_packing": _trl}[options.side]
    times = run(_model(), examples, tokenizer, conversations, options)
    # Steps are logged as they end; the last of the first epoch starts the clock.
    seconds = times[-1] - times[len(times) // EPOCHS - 1]
    return sum(len(example.ids_t) for example in examples) / seconds


def _model() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=32000,
            hidden_size=160,
            intermediate_size=432,
            num_hidden_layers=6,
            num_attention_heads=5,
            max_position_embeddings=MAX_TOKENS,
            tie_word_embeddings=True,
        )
    )


def _examples(encoding: Any, loss: str) -> list[Any]:
    from im_bench.data.weights import weigh
    from im_bench.identity import LossIdentity

    dials = LossIdentity(
        prompt_weight=float(loss == "im"), output_weight=1, template_weight=0, average="example"
    )
    return [weigh(encoded, dials) for encoded in encoding.kept]


def _ours(
    model: Any, examples: list[Any], tokenizer: Any, conversations: list[Any], options: Any
) -> list[float]:
    from im_bench.checkpoint import place
    from im_bench.config import Runtime, Train
    from im_bench.training.trainer import fit

    times: list[float] = []
    runtime = Runtime(device="cpu", micro_batch_tokens=2048, save_steps=10**6, threads=options.threads)
    train = Train(
        epochs=EPOCHS,
        global_batch=GLOBAL_BATCH,
        max_tokens=MAX_TOKENS,
        learning_rate=1e-4,
        warmup_ratio=0.0,
        schedule="linear",
        weight_decay=0.0,
        beta1=0.9,
        beta2=0.999,
        epsilon=1e-8,
        max_grad_norm=0.0,
        precision="bf16",
    )
    place(model, runtime)
    with tempfile.TemporaryDirectory() as out:
        fit(
            model,
            examples,
            train=train,
            average="example",
            seed=0,
            runtime=runtime,
            out=Path(out),
            log=lambda values: times.append(time.monotonic()),
        )
    return times


def _published(model: Any, examples: list[Any], *_: Any) -> list[float]:
    """One example a micro-batch, all logits, gradients added up over the global batch."""
    import torch

    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4)
    times = []
    for epoch in range(EPOCHS):
        shuffled = random.Random(epoch).sample(examples, len(examples))
        for start in range(0, len(shuffled), GLOBAL_BATCH):
            for example in shuffled[start : start + GLOBAL_BATCH]:
                ids = torch.from_numpy(example.ids_t)[None]
                labels = torch.where(torch.from_numpy(example.weights_t)[None] > 0, ids, -100)
                with torch.autocast("cpu", dtype=torch.bfloat16):
                    loss = model(input_ids=ids, labels=labels).loss
                (loss / GLOBAL_BATCH).backward()
            optimiser.step()
            optimiser.zero_grad()
            times.append(time.monotonic())
    return times


def _trl(
    model: Any, examples: list[Any], tokenizer: Any, conversations: list[Any], options: Any
) -> list[float]:
    """TRL's trainer as it comes: only the size of a step and the length are set; and with packing, that."""
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    times: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            times.append(time.monotonic())

    rows = [
        {"messages": [{"role": turn.role, "content": turn.content} for turn in conversation.turns]}
        for conversation in conversations
    ]
    packing = options.side == "trl_packing"
    if packing:
        packed = -(-sum(len(example.ids_t) for example in examples) // MAX_TOKENS)
        accumulation = max(1, round(packed / -(-len(examples) // GLOBAL_BATCH) / 8))
    else:
        accumulation = GLOBAL_BATCH // 8
    tokenizer.pad_token = tokenizer.eos_token
    with tempfile.TemporaryDirectory() as out:
        config = SFTConfig(
            output_dir=out,
            max_length=MAX_TOKENS,
            packing=packing,
            num_train_epochs=EPOCHS,
            gradient_accumulation_steps=accumulation,
            use_cpu=True,
            bf16=True,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
            logging_strategy="no",
        )
        trainer = SFTTrainer(
            model,
            args=config,
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
            callbacks=[Clock()],
        )
        sys.stdout, stdout = sys.stderr, sys.stdout
        trainer.train()
        sys.stdout = stdout
    return times


if __name__ == "__main__":
    main()
