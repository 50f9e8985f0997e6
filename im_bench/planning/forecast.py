"""What steps that are to do will take: tokens, hours, room on the disk, and a judge's calls.

Each number is measured in the store where that has measured it, and else estimated; it says which.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from im_bench import config as c
from im_bench.evaluation.costs import VERDICTS, Amount, amount, items, judged
from im_bench.judging.bills import cost
from im_bench.judging.judge import Bill
from im_bench.pipeline import Cell, with_heldout
from im_bench.planning.records import Measured, Speed
from im_bench.planning.sizes import Disk, disk, parameters
from im_bench.planning.tokens import Estimates
from im_bench.store import Step

Device = Literal["GPU", "CPU"]
Part = Literal["training", "scoring"]

PEAK = {"bf16": 312e12, "fp32": 19.5e12}
"""Floating-point operations a second of an A100, dense (its data sheet), by `train.precision`."""
TRAINING = 0.40
"""Share of the peak that training reaches, in operations that it needs: an assumption, for billions of parameters."""
READING = 0.30
"""Share of the peak that reading prompts reaches: an assumption."""
WRITING = {"hf": 0.05, "vllm": 0.10, "sglang": 0.10, "server": 0.10}
"""Share of the peak that writing reaches, which waits for memory: an assumption, by engine."""
OUTPUTS = 0.5
"""Share of a conversation's tokens that its answer has, when it is asked again: an assumption."""
CPU = 5e10
"""Floating-point operations a second of one process on a few cores: an assumption, about what the toy model reaches."""
TOY_SECONDS = 90.0
"""In which the toy model is pretrained, see `im_bench/toy/base.py`."""


@dataclass
class Hours:
    """Of GPUs, or of processes on a CPU."""

    measured: float = 0.0
    estimated: float = 0.0
    unknown: int = 0
    """Steps of which nothing can be said."""
    origins: dict[str, int] = field(default_factory=dict)
    """Steps by what their hours are from."""

    @property
    def known(self) -> float:
        return self.measured + self.estimated


class Share(NamedTuple):
    """Tokens of one dataset, or subset of it, over all trainings to do."""

    name: str
    trainings: int
    tokens: float | None
    origin: str


class Peak(NamedTuple):
    """What trainings to do will have on the disk at once, beside what is there."""

    bytes: float
    jobs: int
    """Trainings at a time."""
    each_more: float
    """Bytes of one more at a time, where how many there are is the cluster's to say."""
    unknown: int
    """Trainings of models whose size is not known."""


@dataclass
class Verdicts:
    """What one judge is still to be asked."""

    calls: int = 0
    prompt_tokens: float = 0.0
    answer_tokens: float = 0.0
    dollars: float | None = None
    """None where `judge.price` is not set."""


class Room(NamedTuple):
    """What a training that is to do takes of the disk."""

    disk: Disk
    epochs: int
    """Whose weights are kept."""


class Forecast:
    """Adds up what steps to do will take."""

    def __init__(self, measured: Measured) -> None:
        self.hours: dict[tuple[Part, Device], Hours] = defaultdict(Hours)
        self.judges: dict[str, Verdicts] = defaultdict(Verdicts)
        self._measured, self._estimates = measured, Estimates()
        self._sizes: dict[c.Model, float | None] = {}
        self._speeds: dict[tuple[str, str], Speed | None] = {}
        self._tokens: dict[tuple[str, str], list[float | None]] = defaultdict(list)
        self._trainings: list[Room] = []
        self._sizeless = 0

    def take(self, step: Step, cell: Cell) -> None:
        """One step that is to do, of any of the cells that need it."""
        match step.kind:
            case "base":
                if cell.run.model.source == "toy":
                    seconds = self._measured.seconds(step)
                    self._add("training", cell.run, (seconds, TOY_SECONDS), "about 90 s for the toy model")
            case "train":
                self._train(step, cell.run)
            case "verdicts":
                self._judge(step, cell.run)
            case _:
                self._score(step, cell)

    def shares(self) -> list[Share]:
        """Tokens by dataset."""
        return [
            Share(name, len(each), sum(filter(None, each)) if origin else None, origin)
            for (name, origin), each in sorted(self._tokens.items())
        ]

    def peak(self, run: c.Run) -> Peak:
        """Of all trainings, some at a time: what stays of those that are over, and all of those that run."""
        jobs, open_ended = _jobs(run.launcher, len(self._trainings))
        stays = sum(_stays(each, run.keep_checkpoints) for each in self._trainings)
        more = sorted((_goes(each, run.keep_checkpoints) for each in self._trainings), reverse=True)
        each_more = more[0] if open_ended and more else 0.0
        return Peak(stays + sum(more[:jobs]), jobs, each_more, self._sizeless)

    def _train(self, step: Step, run: c.Run) -> None:
        size, estimate = self._size(run.model), self._estimates.epoch(run)
        counted = self._measured.tokens(step)
        origin = "a training of the store" if counted is not None else estimate.origin if estimate else ""
        epoch = counted if counted is not None else estimate.tokens if estimate else None
        tokens = None if epoch is None else epoch * run.train.epochs
        name = run.dataset.name if run.subset.name == "full" else f"{run.dataset.name} {run.subset.label}"
        self._tokens[name, origin].append(tokens)
        if size is None:
            self._sizeless += 1
        else:
            room = disk(run, size, estimate.steps(run) if estimate else None)
            epochs = run.train.epochs if run.train.save_epochs else 1
            self._trainings.append(Room(room, epochs))
        self._add_training(step, run, None if tokens is None or size is None else _flops(run, size, tokens))

    def _add_training(self, step: Step, run: c.Run, flops: float | None) -> None:
        speed = self._speed(step.needs[0], run.runtime.device)
        if flops is None:
            self._add("training", run, (None, None), "")
        elif speed is not None:
            whose = "this model" if speed.same_model else "other models"
            trainings = f"{speed.trainings} training{'s' * (speed.trainings != 1)}"
            said = f"{trainings} of {whose} in the store, {speed.flops:.3g} FLOP/s"
            self._add("training", run, (flops / speed.flops, None), said)
        elif run.runtime.device == "cpu":
            self._add("training", run, (None, flops / CPU), f"{CPU:.3g} FLOP/s, assumed")
        else:
            seconds = flops / (PEAK[run.train.precision] * TRAINING)
            self._add("training", run, (None, seconds), f"{_peak(run)} at {TRAINING:.0%}, assumed")

    def _score(self, step: Step, cell: Cell) -> None:
        run = cell.run
        seconds, size = self._measured.seconds(step), self._size(run.model)
        if seconds is not None:
            gpus = run.engine.gpus if isinstance(run.engine, c.Fast) else 1
            said = "the same benchmarks of this model in the store"
            return self._add("scoring", run, (seconds * gpus, None), said)
        asked = self._measure(step, run) if step.kind == "analysis" else _answer(step, run)
        if size is None or asked is None:
            return self._add("scoring", run, (None, None), "")
        if _device(run, "scoring") == "CPU":
            estimated, said = 2 * size * sum(asked) / CPU, f"{CPU:.3g} FLOP/s, assumed"
        else:
            writing = WRITING[run.engine.kind]
            estimated = 2 * size * _waited(asked, writing) / PEAK[run.train.precision]
            said = f"{_peak(run)} at {READING:.0%} reading and {writing:.0%} writing, assumed"
        return self._add("scoring", run, (None, estimated), said)

    def _measure(self, step: Step, run: c.Run) -> Amount | None:
        """Tokens of an analysis: what is read of both sets, by the base model too, or asked and answered."""
        config = step.identity["config"]
        held_out = with_heldout(run, run.analysis.losses) if config["analysis"] == "losses" else None
        runs = [*([run] if run.loss.trains else []), *([held_out] if held_out else [])]
        found = [self._estimates.epoch(each) for each in runs]
        sets = [each for each in found if each is not None]
        if len(sets) < len(runs):
            return None
        most = config["examples"] or math.inf
        tokens = sum(each.tokens * min(1.0, most / each.conversations) for each in sets)
        if config["analysis"] == "losses":
            return Amount(tokens * len(step.needs), 0.0)
        return Amount(tokens * (1 - OUTPUTS), tokens * OUTPUTS)

    def _judge(self, step: Step, run: c.Run) -> None:
        name = step.identity["config"]["benchmark"]
        spec = run.benchmark[name]
        assert isinstance(spec, c.MTBench | c.AlpacaEval)
        judge = c.judge_for(run.judge, spec)
        if not isinstance(judge, c.Served):
            return
        calls = items(name, run.limit) * VERDICTS[name].for_item * (2 if judge.both_orders else 1)
        each = judged(name, spec, ranking=judge.pairwise == "ranking")
        said = self.judges[run.judge.label]
        said.calls += calls
        said.prompt_tokens += calls * each.read
        said.answer_tokens += calls * each.written
        if judge.price is not None:
            bill = Bill(round(calls * each.read), round(calls * each.written))
            said.dollars = (said.dollars or 0.0) + cost(bill, judge.price)

    def _add(self, part: Part, run: c.Run, seconds: tuple[float | None, float | None], origin: str) -> None:
        """Seconds of one device, as measured and, where they are not, as estimated."""
        hours, (measured, estimated) = self.hours[part, _device(run, part)], seconds
        if measured is not None:
            hours.measured += measured / 3600
        elif estimated is not None:
            hours.estimated += estimated / 3600
        else:
            hours.unknown += 1
        if measured is not None or estimated is not None:
            hours.origins[origin] = hours.origins.get(origin, 0) + 1

    def _size(self, model: c.Model) -> float | None:
        if model not in self._sizes:
            self._sizes[model] = parameters(model)
        return self._sizes[model]

    def _speed(self, base: Step, device: str) -> Speed | None:
        if (base.key, device) not in self._speeds:
            self._speeds[base.key, device] = self._measured.speed(base, device)
        return self._speeds[base.key, device]


def _flops(run: c.Run, size: float, tokens: float) -> float:
    """As `im_bench.training.flops.training_flops`, the attention aside, which is a few percent of a large model."""
    passes = (3 if run.train.lora is None else 2) + (run.loss.kl_weight > 0)
    return 2 * size * tokens * passes


def _waited(asked: Amount, writing: float) -> float:
    """Tokens that would take as long at the peak."""
    return asked.read / READING + asked.written / writing


def _peak(run: c.Run) -> str:
    return f"{PEAK[run.train.precision] / 1e12:g} TFLOP/s (A100, {run.train.precision})"


def _device(run: c.Run, part: Part) -> Device:
    """Of what somebody else serves, GPUs."""
    served = part == "scoring" and isinstance(run.engine, c.Server)
    return "GPU" if served or run.runtime.device == "cuda" else "CPU"


def _answer(step: Step, run: c.Run) -> Amount | None:
    """Tokens of a benchmark; None of the toy world's, whose items are fewer."""
    if "toy" in (run.paths.hub, run.paths.assets):
        return None
    name = _benchmark(step, run)
    return amount(name, run.benchmark[name], run.engine, run.limit)


def _benchmark(step: Step, run: c.Run) -> str:
    """The benchmark that a step asks the model, or one of those that share its answers."""
    config = step.identity["config"]
    if step.kind != "answers":
        return str(config.get("benchmark", step.kind))
    family, longest = config["questions"], config["max_new_tokens"]
    return next(
        name
        for name, spec in run.benchmark.items()
        if name.startswith(family) and getattr(spec, "max_new_tokens", None) == longest
    )


def _jobs(launcher: c.Launcher, trainings: int) -> tuple[int, bool]:
    """How many trainings there are at a time, and whether a cluster may make more."""
    match launcher:
        case c.Local(jobs=jobs):
            return min(jobs, trainings), False
        case c.Slurm(jobs=jobs):
            return min(jobs or trainings, trainings), False
        case c.Ray():
            return min(1, trainings), trainings > 1


def _stays(training: Room, keep: str) -> float:
    """Bytes of one that is over, while others run."""
    kept = {"all": training.epochs, "none_but_final": 1, "until_scored": 0}
    return training.disk.checkpoint * kept[keep]


def _goes(training: Room, keep: str) -> float:
    """Bytes that one has besides until it is trained and scored."""
    whole = training.disk.checkpoint * training.epochs
    return training.disk.state + whole - _stays(training, keep)
