"""Training on one GPU: tokens per second, model FLOP utilisation and peak memory, IT and IM, packed and in buckets.

A Llama of 1.1 billion parameters from random weights is trained in bf16 (autocast over fp32 weights) on made-up
conversations whose lengths are log-normal with a median of 350 tokens, a third of them output. The first step is not
counted. FLOPs are those of `im_bench.training.flops`, without what is computed again to save memory.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import setting

SIZES = {
    "1b": {
        "vocab_size": 32000,
        "hidden_size": 2048,
        "intermediate_size": 5632,
        "num_hidden_layers": 22,
        "num_attention_heads": 32,
        "num_key_value_heads": 4,
    },
    "tiny": {
        "vocab_size": 320,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
    },
}
# Dense bf16 operations per second, from the makers' data sheets.
PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40": 181e12, "A6000": 155e12, "4090": 165e12}
POSITIONS, GLOBAL_BATCH, STEPS = 2048, 64, 4


def main() -> None:
    parser = setting.arguments(__doc__)
    parser.set_defaults(repeats=1)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--size", default="1b", choices=SIZES)
    parser.add_argument(
        "--attention", default="sdpa", help="a kernel of transformers, e.g. flash_attention_2"
    )
    parser.add_argument("--micro-batch-tokens", type=int, default=8192)
    parser.add_argument("--gradient-checkpointing", action="store_true")
    parser.add_argument(
        "--peak", type=float, help="operations per second of the device, where its name is unknown here"
    )
    options = parser.parse_args()
    if options.side:
        print(_side(options))
        return
    import torch

    if options.device == "cuda" and not torch.cuda.is_available():
        parser.exit(
            1, "benchmarks/gpu.py needs a CUDA device; --device cpu --size tiny only tries whether it runs\n"
        )
    more = ["--device", options.device, "--size", options.size, "--attention", options.attention]
    more += ["--micro-batch-tokens", str(options.micro_batch_tokens)]
    more += ["--gradient-checkpointing"] if options.gradient_checkpointing else []
    sides = [f"{loss} {layout}" for loss in ("it", "im") for layout in ("buckets", "packed")]
    found = setting.take_turns(sides, options, *more)
    speeds, rates, bytes_ = (
        setting.medians(found, field) for field in ("tokens_per_second", "flops_per_second", "bytes")
    )
    peak = options.peak or _known_peak(options.device)
    rows = [
        {
            "loss, layout": side,
            "tokens/s": speeds[side],
            "/ buckets": speeds[side] / speeds[f"{side.split()[0]} buckets"],
            "TFLOP/s": rates[side] / 1e12,
            "MFU": rates[side] / peak if peak else "n/a",
            "GB": bytes_[side] / 1e9,
        }
        for side in sides
    ]
    setting.show(rows, options.json)


def _known_peak(device: str) -> float | None:
    import torch

    if device != "cuda":
        return None
    return next((peak for name, peak in PEAKS.items() if name in torch.cuda.get_device_name()), None)


def _side(options: Any) -> str:
    import json

    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from im_bench.checkpoint import place
    from im_bench.config import Runtime, Train
    from im_bench.training.trainer import fit

    loss, layout = options.side.split()
    runtime = Runtime(
        device=options.device,
        micro_batch_tokens=options.micro_batch_tokens,
        gradient_checkpointing=options.gradient_checkpointing,
        attention=options.attention,
        layout=layout,
        save_steps=10**6,
        threads=None,
    )
    train = Train(
        epochs=1,
        global_batch=GLOBAL_BATCH,
        max_tokens=POSITIONS,
        learning_rate=1e-5,
        warmup_ratio=0.0,
        schedule="linear",
        weight_decay=0.0,
        beta1=0.9,
        beta2=0.999,
        epsilon=1e-8,
        max_grad_norm=1.0,
        precision="bf16",
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(max_position_embeddings=POSITIONS, **SIZES[options.size]))
    model.set_attn_implementation(options.attention)
    place(model, runtime)
    examples = _examples(loss, SIZES[options.size]["vocab_size"])
    marks: list[tuple[float, float, float]] = []
    with tempfile.TemporaryDirectory() as out:
        fit(
            model,
            examples,
            train=train,
            average="token",
            seed=0,
            runtime=runtime,
            out=Path(out),
            log=lambda values: marks.append((time.monotonic(), values["tokens"], values["flops"])),
        )
    (start, first_tokens, first_flops), (end, tokens, flops) = marks[0], marks[-1]
    return json.dumps(
        {
            "tokens_per_second": (tokens - first_tokens) / (end - start),
            "flops_per_second": (flops - first_flops) / (end - start),
            "bytes": torch.cuda.max_memory_allocated() if options.device == "cuda" else 0,
        }
    )


def _examples(loss: str, vocabulary: int) -> list[Any]:
    import numpy as np

    from im_bench.data.weights import Example

    draw = np.random.default_rng(0)
    examples = []
    for length in np.clip(draw.lognormal(np.log(350), 0.8, GLOBAL_BATCH * STEPS), 16, POSITIONS).astype(int):
        output = max(1, length // 3)
        weights_t = np.full(length, float(loss == "im"), dtype=np.float32)
        weights_t[-output:] = 1.0
        weights_t[0] = 0.0
        examples.append(Example(draw.integers(3, vocabulary, length), weights_t, outputs=output))
    return examples


if __name__ == "__main__":
    main()
