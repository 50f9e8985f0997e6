"""The shapes of everything in conf/, a file per group.

A composed config is text until `validated` turns it into one frozen `Run`; below that line there are
attributes only. Values live in YAML, shapes live here; what of them enters a key is in `identity.py`.

`model`, `dataset`, `subset`, `loss`, `train`, `benchmark`, `analysis` and `judge` are what is computed: changing a
value there should change a number in the table. `runtime`, `engine` and `launcher`, and the tracker and paths of a
`run`, are where and how: none of this reaches a key.
"""

from im_bench.config.analysis import Analyses, Losses, Memorisation
from im_bench.config.benchmark import AlpacaEval, Benchmark, Harness, HumanEval, MTBench
from im_bench.config.dataset import Dataset
from im_bench.config.engine import HF, Engine, Fast, Server
from im_bench.config.judge import UNNAMED, Judge, Overlap, Price, Replay, Served, judge_for
from im_bench.config.launcher import Launcher, Local, Ray, Resources, Slurm
from im_bench.config.loss import Loss
from im_bench.config.model import Model
from im_bench.config.run import Paths, Report, Run, Tracker, Training
from im_bench.config.runtime import Runtime
from im_bench.config.subset import Subset
from im_bench.config.train import Lora, Train
from im_bench.config.validating import load_yaml, report_values, several, training_values, validated
from im_bench.config.values import Frozen, UserError, ValueNeeded

__all__ = [
    "AlpacaEval",
    "Analyses",
    "Benchmark",
    "Dataset",
    "Engine",
    "Fast",
    "Frozen",
    "HF",
    "Harness",
    "HumanEval",
    "Judge",
    "Launcher",
    "Local",
    "Lora",
    "Loss",
    "Losses",
    "MTBench",
    "Memorisation",
    "Model",
    "Overlap",
    "Paths",
    "Price",
    "Ray",
    "Replay",
    "Report",
    "Resources",
    "Run",
    "Runtime",
    "Served",
    "Server",
    "Slurm",
    "Subset",
    "Tracker",
    "Train",
    "Training",
    "UNNAMED",
    "UserError",
    "ValueNeeded",
    "judge_for",
    "load_yaml",
    "report_values",
    "several",
    "training_values",
    "validated",
]
