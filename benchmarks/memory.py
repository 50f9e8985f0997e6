"""Peak memory of the vocabulary's projection and the loss, forward and backward: im-bench beside plain transformers.

A Llama without layers (embedding, norm, projection) sees one row of 4,096 tokens, in fp32. Every measurement is a
process of its own, whose peak is counted from just before the forward pass (VmHWM, Linux only). There glibc gives every
large buffer back when it is freed, so that the peak is of what lives and not of how the heap is cut up.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import setting

SIDES = ("im-bench", "transformers")
WIDTH = 256
# Share of tokens that carry loss, and their weight.
CASES = {"im": (1.0, 1.0), "it, a tenth supervised": (0.1, 1.0), "all at weight 0.5": (1.0, 0.5)}


def main() -> None:
    parser = setting.arguments(__doc__)
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--vocabularies", type=int, nargs="+", default=[32_000, 128_000])
    parser.add_argument("--case", default="im", choices=CASES)
    options = parser.parse_args()
    if options.side:
        print(f'{{"bytes": {_side(options)}}}')
        return
    os.environ["MALLOC_MMAP_THRESHOLD_"] = str(1 << 20)
    rows: list[dict[str, Any]] = []
    for vocabulary in options.vocabularies:
        for case in CASES:
            more = ["--tokens", str(options.tokens), "--vocabularies", str(vocabulary), "--case", case]
            peaks = setting.medians(setting.take_turns(SIDES, options, *more), "bytes")
            row = {"vocabulary": vocabulary, "case": case}
            row |= {f"{side} MB": peaks[side] / 1e6 for side in SIDES}
            rows.append(row | {"ratio": peaks["im-bench"] / peaks["transformers"]})
    setting.show(rows, options.json)


def _side(options: Any) -> int:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    (vocabulary,) = options.vocabularies
    shape = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=WIDTH,
        num_hidden_layers=0,
        num_attention_heads=1,
        max_position_embeddings=options.tokens,
    )
    model = LlamaForCausalLM(shape)
    share, weight = CASES[options.case]
    run = {"im-bench": _ours, "transformers": _plain}[options.side]
    run(model, 8, vocabulary, share, weight)  # whatever is loaded or set up once
    model.zero_grad(set_to_none=True)
    # Makes the peak the present; see proc(5).
    Path("/proc/self/clear_refs").write_text("5")
    before = _peak()
    run(model, options.tokens, vocabulary, share, weight)
    return _peak() - before


def _ours(model: Any, tokens: int, vocabulary: int, share: float, weight: float) -> None:
    import numpy as np

    from im_bench.data.batching import step_batch
    from im_bench.data.weights import Example
    from im_bench.training.loss import Objective, weighted_loss

    ids_t = np.random.default_rng(0).integers(vocabulary, size=tokens)
    weights_t = np.where(np.arange(tokens) >= tokens * (1 - share), weight, 0).astype(np.float32)
    weights_t[0] = 0.0
    example = Example(ids_t, weights_t, outputs=tokens)
    step = step_batch([example], average="token", max_tokens=tokens)
    loss = weighted_loss(model, step.micro_batches[0], Objective())
    (loss / step.denominator).backward()


def _plain(model: Any, tokens: int, vocabulary: int, share: float, weight: float) -> None:
    """Transformers' own loss, which knows no weights."""
    import torch

    ids_bt = torch.randint(vocabulary, (1, tokens))
    labels_bt = torch.where(torch.arange(tokens) >= tokens * (1 - share), ids_bt, -100)
    model(input_ids=ids_bt, labels=labels_bt).loss.backward()


def _peak() -> int:
    """Of this process's memory, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
