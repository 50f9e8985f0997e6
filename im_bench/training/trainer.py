"""Training: `transformers.Trainer` is the loop; ours are the steps it walks and the loss of one."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, SequentialSampler
from transformers import (
    PreTrainedModel,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from im_bench.config import Runtime, Train
from im_bench.data.batching import MicroBatch, StepBatch, step_batch, step_order
from im_bench.data.weights import Example
from im_bench.training.loss import weighted_nll

Log = Callable[[dict[str, float]], None]
STATE = "state"


class Steps(Dataset[StepBatch]):
    """The optimiser steps of a whole training, each made when it is asked for."""

    def __init__(self, examples: Sequence[Example], order: list[list[int]], average: str, max_tokens: int):
        self.examples = examples
        self.order = order
        self.average = average
        self.max_tokens = max_tokens

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: int) -> StepBatch:
        chosen = [self.examples[example] for example in self.order[index]]
        return step_batch(chosen, average=self.average, max_tokens=self.max_tokens)


def fit(
    model: PreTrainedModel,
    examples: Sequence[Example],
    *,
    train: Train,
    average: str,
    seed: int,
    runtime: Runtime,
    out: Path,
    log: Log,
) -> dict[str, float]:
    """Train `model` in place, going on from the last saved state in `out` if there is one.

    Args:
        average: see `im_bench.data.batching.step_batch`.
        log: called with `step`, `loss`, `learning_rate` and the running counts, once an optimiser step.

    Returns:
        `steps`, `seconds`, `supervised_tokens` and `tokens` of what this call trained, and the mean `loss`.
    """
    order = step_order(len(examples), global_batch=train.global_batch, epochs=train.epochs, seed=seed)
    steps = Steps(examples, order, average, runtime.micro_batch_tokens)
    if runtime.gradient_checkpointing:
        model.activation_checkpointing_enable()
    progress = Progress(log)
    trainer = StepTrainer(
        model=model,
        args=_arguments(train, runtime, num_steps=len(steps), seed=seed, out=out),
        train_dataset=steps,
        data_collator=_only,
        callbacks=[progress],
        progress=progress,
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=_last_state(out / STATE))
    shutil.rmtree(out / STATE, ignore_errors=True)
    return progress.summary()


class StepTrainer(Trainer):
    """A Trainer whose one batch is one optimiser step, however many micro-batches that takes."""

    def __init__(self, *, progress: Progress, **arguments: Any):
        super().__init__(**arguments)
        self.progress = progress

    def _get_train_sampler(self, *_: Any) -> SequentialSampler:
        return SequentialSampler(self.train_dataset)  # type: ignore[arg-type]  # the order is in the dataset

    def training_step(self, model: PreTrainedModel, inputs: StepBatch, *_: Any) -> Tensor:  # type: ignore[override]  # our batch
        model.train()
        total = torch.zeros((), device=self.args.device)
        for micro_batch in inputs.micro_batches:
            on_device = MicroBatch(
                *(part.to(self.args.device) if isinstance(part, Tensor) else part for part in micro_batch)
            )
            with self.compute_loss_context_manager():
                loss = weighted_nll(model, on_device) / inputs.denominator
            self.accelerator.backward(loss)
            total += loss.detach()
        assert self.lr_scheduler is not None
        self.progress.count(inputs, float(total), float(self.lr_scheduler.get_last_lr()[0]))
        return total


class Progress(TrainerCallback):
    """Counts what was trained and reports it after each optimiser step."""

    def __init__(self, log: Log):
        self.log = log
        self.losses: list[float] = []
        self.learning_rate = 0.0
        self.supervised_tokens = 0
        self.tokens = 0
        self.start = time.monotonic()

    def count(self, batch: StepBatch, loss: float, learning_rate: float) -> None:
        self.losses.append(loss)
        self.learning_rate = learning_rate
        self.supervised_tokens += batch.supervised_tokens
        self.tokens += sum(batch.lengths)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        seconds = time.monotonic() - self.start
        self.log(
            {
                "step": state.global_step,
                "steps": state.max_steps,
                "loss": self.losses[-1],
                "learning_rate": self.learning_rate,
                "supervised_tokens": self.supervised_tokens,
                "supervised_tokens_per_second": self.supervised_tokens / seconds,
            }
        )

    def summary(self) -> dict[str, float]:
        return {
            "steps": len(self.losses),
            "seconds": time.monotonic() - self.start,
            "supervised_tokens": self.supervised_tokens,
            "tokens": self.tokens,
            "loss": sum(self.losses) / max(1, len(self.losses)),
        }


def _arguments(train: Train, runtime: Runtime, *, num_steps: int, seed: int, out: Path) -> TrainingArguments:
    arguments = TrainingArguments(
        output_dir=str(out / STATE),
        max_steps=num_steps,
        per_device_train_batch_size=1,  # one optimiser step; its micro-batches are inside
        learning_rate=train.learning_rate,
        lr_scheduler_type=train.schedule if train.schedule != "constant" else "constant_with_warmup",
        warmup_steps=round(train.warmup_ratio * num_steps),
        weight_decay=train.weight_decay,
        adam_beta1=train.beta1,
        adam_beta2=train.beta2,
        adam_epsilon=train.epsilon,
        max_grad_norm=train.max_grad_norm,
        bf16=train.precision == "bf16",
        seed=seed,
        use_cpu=runtime.device == "cpu",
        save_strategy="steps",
        save_steps=runtime.save_steps,
        save_total_limit=1,
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
    )
    # One process trains on one device; seeing more, the Trainer would split our one batch over them.
    assert arguments.device is not None
    arguments._n_gpu = 1
    return arguments


def _only(batches: list[StepBatch]) -> StepBatch:
    (batch,) = batches
    return batch


def _last_state(folder: Path) -> str | None:
    """The last whole saved state; one that was cut off in the middle of saving is removed."""
    whole = []
    for path in folder.glob("checkpoint-*"):
        try:
            json.loads((path / "trainer_state.json").read_text())
            whole.append(path)
        except (OSError, json.JSONDecodeError):
            shutil.rmtree(path)
    return str(max(whole, key=lambda path: int(path.name.rpartition("-")[2]))) if whole else None
