"""How many parameters a model has, and what that comes to on the disk; weights are not read."""

from __future__ import annotations

import json
import struct
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from im_bench import hub
from im_bench.config import Model, Run, Server, Train

SAVED = {"bf16": 2, "fp32": 4}
"""Bytes of a parameter of a checkpoint, by `train.precision`."""
STATE = 12
"""Bytes of a trained parameter in a saved training state: the fp32 weight and Adam's two moments."""
TRAINED = 16
"""Bytes of a trained parameter in memory: as above, and its fp32 gradient."""
LORA_SHARE = 0.024 / 64
"""Trained parameters for each one of the model, and unit of `train.lora.rank`: 160 million of Llama-2-7B's at 64."""
BITS = {"64": 8, "32": 4, "16": 2, "8": 1}


class Disk(NamedTuple):
    """Bytes that trainings write."""

    checkpoint: float
    """The weights of one."""
    state: float
    """What a running training can be resumed from; the last is there until the next is written."""


def parameters(model: Model) -> float | None:
    """As its config says, or as its weights' files do where they are at hand; None where neither does."""
    if model.parameters is not None:
        return model.parameters * 1e9
    if model.source == "hub":
        assert model.id is not None
        folder = hub.cached_model(model.id, model.revision)
    else:
        folder = Path(model.path) if model.path else None
    return _counted(folder) if folder and folder.is_dir() else None


def disk(run: Run, size: float, steps: int | None) -> Disk:
    """Of one training of the run.

    Args:
        steps: optimiser steps that it takes, where known.
    """
    states = 2 if steps is None else min(2, max(0, steps - 1) // run.runtime.save_steps)
    return Disk(SAVED[run.train.precision] * size, states * STATE * size * _trained(run.train))


def memory(run: Run, size: float) -> float:
    """Bytes that each process of a training holds besides activations: of `size` parameters, their gradients and state.

    Weights are in fp32 while they train; FSDP shards what DDP copies. A KL term's base model is whole in each process.
    """
    trained = _trained(run.train) * size
    own = 4 * size + (TRAINED - 4) * trained
    sharded = run.runtime.processes if run.runtime.parallel == "fsdp" else 1
    return own / sharded + (SAVED[run.train.precision] * size if run.loss.kl_weight else 0.0)


def scoring_memory(run: Run, size: float) -> float:
    """Bytes that a model of `size` parameters takes of each GPU while it answers, besides activations."""
    if isinstance(run.engine, Server):
        return 0.0
    return SAVED["bf16"] * size / getattr(run.engine, "gpus", 1)


def looking_memory(run: Run, size: float) -> float:
    """Bytes that the losses of a model of `size` parameters take besides activations: the base model is beside it."""
    return SAVED[run.train.precision] * size * (2 if run.loss.trains else 1)


def _trained(train: Train) -> float:
    return 1.0 if train.lora is None else LORA_SHARE * train.lora.rank


def _counted(folder: Path) -> float | None:
    """By the headers of safetensors, or else by the size of the files and the type that config.json names."""
    tensors = sorted(folder.glob("*.safetensors"))
    try:
        if tensors:
            return sum(map(_of_safetensors, tensors))
        config = json.loads((folder / "config.json").read_text())
        kind = str(config.get("dtype") or config.get("torch_dtype") or "float32")
        weight = next(size for bits, size in BITS.items() if kind.endswith(bits))
        return sum(file.stat().st_size for file in folder.glob("pytorch_model*.bin")) / weight or None
    except (OSError, ValueError, KeyError, AttributeError, struct.error, StopIteration):
        return None  # no weights of a kind that is known; loading them will say what is wrong


def _of_safetensors(file: Path) -> int:
    with file.open("rb") as opened:
        (length,) = struct.unpack("<Q", opened.read(8))
        header: dict[str, Any] = json.loads(opened.read(min(length, file.stat().st_size)))
    return sum(prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")
