"""Training: `transformers.Trainer` is the loop; ours are the steps it walks and the loss of one."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
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
from im_bench.data.batching import StepBatch, noise_seed, share, step_batch, step_order
from im_bench.data.weights import Example
from im_bench.drafts import drafted
from im_bench.training import TOTALS
from im_bench.training.flops import Size, training_flops
from im_bench.training.loss import Objective, as_forward, check_packing
from im_bench.training.processes import shard_where_asked, sum_in_fp32

Log = Callable[[dict[str, float]], None]
Keep = Callable[[dict[str, Tensor], int], None]
STATE = "state"


class Steps(Dataset[StepBatch]):
    """The optimiser steps of a whole training, each made when it is asked for."""

    def __init__(
        self, examples: Sequence[Example], *, train: Train, average: str, seed: int, runtime: Runtime
    ):
        self.examples = examples
        self.order = step_order(
            len(examples), global_batch=train.global_batch, epochs=train.epochs, seed=seed
        )
        self.average = average
        self.seed = seed
        self.runtime = runtime

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: int) -> StepBatch:
        chosen = self.order[index]
        return step_batch(
            [self.examples[example] for example in chosen],
            average=self.average,
            max_tokens=self.runtime.micro_batch_tokens,
            packed=self.runtime.packed,
            seeds=[noise_seed(self.seed, index, example) for example in chosen],
        )


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
    objective: Objective | None = None,
    keep: Keep | None = None,
) -> None:
    """Train `model` in place, going on from the last saved state in `out` if there is one.

    `training.json` in `out` then has `steps`, `seconds`, `supervised_tokens`, `tokens`, `flops` and the mean `loss` of
    the whole training (seconds of an interrupted one are those of the steps that count), and the `device` and number
    of `processes` that it ended on.

    Args:
        average: see `im_bench.data.batching.step_batch`.
        log: called with `step`, `loss`, `learning_rate` and the running counts, once an optimiser step.
        keep: called in the main process with all weights and the number of the epoch they come from: after the
            last epoch, and with `train.save_epochs` after each.
    """
    out.mkdir(parents=True, exist_ok=True)
    objective = objective or Objective()
    steps = Steps(examples, train=train, average=average, seed=seed, runtime=runtime)
    if runtime.gradient_checkpointing:
        model.activation_checkpointing_enable()
    arguments = _arguments(train, runtime, num_steps=len(steps), seed=seed, out=out)
    shard_where_asked(runtime)
    if runtime.packed:
        check_packing(model)
    counts = Counts(Size.of(model), frozen=train.lora is not None, base=objective.base is not None)
    with as_forward(model, objective):
        trainer = StepTrainer(
            model=model, args=arguments, train_dataset=steps, data_collator=_only, counts=counts
        )
        sum_in_fp32(trainer.accelerator)
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(Follow(log, counts))
        trainer.add_callback(KeepLastState(trainer, _state(out, runtime)))
        if keep is not None:
            trainer.add_callback(KeepEpochs(trainer, keep, train))
        trainer.train(resume_from_checkpoint=_last_state(_state(out, runtime), runtime.processes))
        trainer.accelerator.unwrap_model(trainer.model_wrapped, keep_fp32_wrapper=False)
    trainer.accelerator.wait_for_everyone()
    if trainer.is_world_process_zero():
        _conclude(out, summary(trainer.state), runtime)


class StepTrainer(Trainer):
    """A Trainer whose one batch is one optimiser step, however many micro-batches and processes that takes."""

    def __init__(self, *, counts: Counts, **arguments: Any):
        super().__init__(**arguments)
        self.counts = counts

    def get_train_dataloader(self) -> DataLoader:
        # As it is: every process gets every step, of which it takes its own share.
        assert isinstance(self.train_dataset, Steps)
        return DataLoader(self.train_dataset, batch_size=1, collate_fn=self.data_collator)

    def training_step(self, model: PreTrainedModel, inputs: StepBatch, *_: Any) -> Tensor:  # type: ignore[override]  # our batch
        model.train()
        rank, ranks = self.accelerator.process_index, self.accelerator.num_processes
        mine = share(inputs.micro_batches, rank=rank, ranks=ranks)
        total = torch.zeros((), device=self.args.device)
        for number, micro_batch in enumerate(mine, start=1):
            # Gradients are exchanged once a step, and then averaged, where the loss is a sum over all processes.
            with nullcontext() if number == len(mine) else self.accelerator.no_sync(model):
                with self.compute_loss_context_manager():
                    loss = model(micro_batch.to(self.args.device)) / inputs.denominator
                self.accelerator.backward(loss * ranks)
            total += loss.detach()
        total = self.accelerator.reduce(total)
        assert self.lr_scheduler is not None
        self.counts.count(inputs, float(total), float(self.lr_scheduler.get_last_lr()[0]))
        return total


class Counts:
    """What the running optimiser step came to."""

    def __init__(self, size: Size, *, frozen: bool, base: bool):
        self.size = size
        self.frozen = frozen
        self.base = base
        self.start = time.monotonic()
        self.values: dict[str, float] = {}

    def count(self, batch: StepBatch, loss: float, learning_rate: float) -> None:
        projected = batch.supervised_tokens
        now = time.monotonic()
        self.values = {
            "loss": loss,
            "learning_rate": learning_rate,
            "supervised_tokens": batch.supervised_tokens,
            "tokens": sum(batch.lengths),
            "flops": training_flops(self.size, batch.lengths, projected, frozen=self.frozen, base=self.base),
            "seconds": now - self.start,
        }
        self.start = now


class Follow(TrainerCallback):
    """Keeps the counts of every step in the Trainer's state, which an interrupted training goes on from."""

    def __init__(self, log: Log, counts: Counts):
        self.log = log
        self.counts = counts

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        state.log_history.append({"step": state.global_step, **self.counts.values})
        # What is to be resumed is over; at the size of a real model this state is most of the disk.
        control.should_save = control.should_save and state.global_step < state.max_steps
        if state.is_world_process_zero:
            now, sofar = state.log_history[-1], summary(state)
            self.log(
                {
                    "step": state.global_step,
                    "steps": state.max_steps,
                    "loss": now["loss"],
                    "learning_rate": now["learning_rate"],
                    "supervised_tokens": sofar["supervised_tokens"],
                    "tokens": sofar["tokens"],
                    "flops": sofar["flops"],
                    "tokens_per_second": now["tokens"] / now["seconds"],
                }
            )


class KeepLastState(TrainerCallback):
    """Removes earlier states when every process has written its part of the last one.

    The Trainer's own `save_total_limit` removes them when the first process has: a training cut off there would have
    no whole state to go on from.
    """

    def __init__(self, trainer: StepTrainer, folder: Path):
        self.trainer = trainer
        self.folder = folder

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self.trainer.accelerator.wait_for_everyone()
        if state.is_world_process_zero:
            for path in self.folder.glob("checkpoint-*"):
                if path.name != f"checkpoint-{state.global_step}":
                    shutil.rmtree(path, ignore_errors=True)


class KeepEpochs(TrainerCallback):
    """Hands on the weights at the end of epochs."""

    def __init__(self, trainer: StepTrainer, keep: Keep, train: Train):
        self.trainer = trainer
        self.keep = keep
        self.train = train

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        epoch, rest = divmod(state.global_step * self.train.epochs, state.max_steps)
        if rest or not (self.train.save_epochs or epoch == self.train.epochs):
            return
        # Every process takes part in gathering what is sharded.
        weights = self.trainer.accelerator.get_state_dict(self.trainer.model_wrapped)
        if state.is_world_process_zero:
            with torch.random.fork_rng():
                self.keep(weights, epoch)


def summary(state: TrainerState) -> dict[str, float]:
    """Totals of the steps so far, and their mean loss."""
    done = [step for step in state.log_history if "flops" in step]  # the Trainer adds lines of its own
    totals = {
        name: sum(step[name] for step in done) for name in ("seconds", "supervised_tokens", "tokens", "flops")
    }
    return {
        "steps": len(done),
        **totals,
        "loss": sum(step["loss"] for step in done) / max(1, len(done)),
    }


def _conclude(out: Path, totals: dict[str, float], runtime: Runtime) -> None:
    """With its totals a training is over, and nothing of it is to go on from."""
    made_by = {"device": runtime.device, "processes": runtime.processes}
    with drafted(out / TOTALS) as draft:
        draft.write_text(json.dumps(totals | made_by, indent=1) + "\n")
    shutil.rmtree(out / STATE, ignore_errors=True)


def _arguments(train: Train, runtime: Runtime, *, num_steps: int, seed: int, out: Path) -> TrainingArguments:
    arguments = TrainingArguments(
        output_dir=str(_state(out, runtime)),
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
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        ddp_find_unused_parameters=False,
    )
    # One process trains on one device; seeing more, the Trainer would split our one batch over them.
    assert arguments.device is not None
    arguments._n_gpu = 1
    return arguments


def _only(batches: list[StepBatch]) -> StepBatch:
    (batch,) = batches
    return batch


def _state(out: Path, runtime: Runtime) -> Path:
    """Where an interrupted training is kept; what some processes saved together, others cannot load."""
    return out / STATE / (f"{runtime.parallel}-{runtime.processes}" if runtime.processes > 1 else "alone")


def _last_state(folder: Path, processes: int) -> str | None:
    """The last whole saved state; one that was cut off in the middle of saving is removed."""
    whole = []
    for path in folder.glob("checkpoint-*"):
        if _is_whole(path, processes):
            whole.append(path)
        else:
            shutil.rmtree(path, ignore_errors=True)  # every process comes by here
    return str(max(whole, key=lambda path: int(path.name.rpartition("-")[2]))) if whole else None


def _is_whole(state: Path, processes: int) -> bool:
    """The first process writes its JSON last, every process its random numbers."""
    try:
        json.loads((state / "trainer_state.json").read_text())
    except (OSError, ValueError):
        return False
    return sum(map(is_zipfile, state.glob("rng_state*.pth"))) == processes
