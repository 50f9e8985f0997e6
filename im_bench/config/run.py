"""One cell as composed: what it is made of, what must hold between that, and where things are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from im_bench.config.analysis import Analyses
from im_bench.config.benchmark import Benchmark
from im_bench.config.dataset import Dataset
from im_bench.config.engine import Engine
from im_bench.config.judge import Judge
from im_bench.config.launcher import Launcher, Local
from im_bench.config.loss import Loss
from im_bench.config.model import Model
from im_bench.config.runtime import Runtime
from im_bench.config.subset import Subset
from im_bench.config.train import Train
from im_bench.config.values import Count, Frozen


class Tracker(Frozen):
    """Where runs are followed, besides the JSON lines that are always written."""

    kind: Literal["none", "wandb"]
    project: str | None
    entity: str | None


class Paths(Frozen):
    """Where things are."""

    results: Path
    hub: str | None
    """Benchmark data: null is the hub, `toy` the toy world's, else a folder in hub layout."""
    assets: str | None
    """MT-Bench and AlpacaEval files: null fetches the official ones, `toy`, or a folder that has them."""
    datasets: str | None = None
    """A folder with copies of published datasets, by file name or in hub layout; null fetches them."""
    cache: Path
    """Fetched files."""


class Report(Frozen):
    """How the table reads the scores."""

    baseline: str
    """The loss that differences are to."""
    reading: Literal["corrected", "published"]
    seeds: Literal["each", "pooled"] = "each"
    """Whether cells that only their seed tells apart have a row each, or one together."""
    judge: tuple[str, ...] = ()
    """The judges whose scores are shown, where a benchmark has those of several; none are whoever there is."""

    mixed: bool = False
    """Whether scores by different judges, or of different versions of a task, may share a column."""
    tables: tuple[Literal[2, 3, 4, 5, 7], ...] = ()
    """The paper's tables besides Table 1 whose form the sweep's numbers take too."""

    @field_validator("judge", mode="before")
    @classmethod
    def one_judge_is_a_list_of_one(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value


class Training(Frozen):
    """What of a cell a training depends on."""

    model: Model
    dataset: Dataset
    subset: Subset
    loss: Loss
    train: Train
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    """numpy's generator, which transformers seeds too, takes no other."""
    paths: Paths

    @model_validator(mode="after")
    def published_labels_need_the_published_template(self) -> Self:
        if self.loss.labels != "parts" and self.model.chat_template != "tulu":
            raise ValueError(
                f"loss={self.loss.name}: the published code's labels are known for its own template only; "
                "use model.chat_template=tulu"
            )
        return self


class Run(Training):
    """One cell as composed: what to compute, and where."""

    benchmark: dict[str, Benchmark] = {}
    analysis: Analyses = Analyses()
    judge: Judge
    epoch: Count | None = None
    """After which epoch of the training the checkpoint is scored; null is the last."""
    limit: Count | None
    """At most so many items of every task, and conversations of an analysis; null is all."""
    engine: Engine
    runtime: Runtime
    launcher: Launcher
    keep_checkpoints: Literal["all", "none_but_final", "until_scored"]
    """Trained weights: of every epoch, of the last, or only until every benchmark that asks them has its record."""
    tracker: Tracker
    report: Report

    @model_validator(mode="after")
    def a_gpu_is_not_shared_unasked(self) -> Self:
        launcher, on_gpu = self.launcher, self.runtime.device == "cuda"
        if isinstance(launcher, Local) and launcher.jobs > 1 and on_gpu:
            raise ValueError(
                f"launcher.jobs={launcher.jobs}: all would compute on the first GPU; launcher=ray gives each its own"
            )
        if not isinstance(launcher, Local) and on_gpu:
            gpus, processes = launcher.resources.train.gpus, self.runtime.processes
            if gpus < processes and processes > 1:
                raise ValueError(
                    f"launcher.resources.train.gpus={gpus:g}: runtime.processes={processes} needs one each"
                )
        return self

    @model_validator(mode="after")
    def an_epoch_is_one_that_is_kept(self) -> Self:
        if self.epoch is None or not self.loss.trains:
            return self
        if self.epoch > self.train.epochs:
            raise ValueError(f"epoch={self.epoch}: there are {self.train.epochs}; raise train.epochs")
        if not self.train.save_epochs:
            raise ValueError(f"epoch={self.epoch}: no epoch but the last is kept; add train.save_epochs=true")
        return self

    @property
    def scored_epoch(self) -> int | None:
        """As `epoch`, but null where the checkpoint is that of the whole training, or of none."""
        return self.epoch if self.loss.trains and self.epoch != self.train.epochs else None

    @property
    def analyses(self) -> tuple[str, ...]:
        """Those that can be made of this cell: of a base model, which was trained on nothing, held-out losses alone."""
        heldout = self.analysis.losses is not None and self.analysis.losses.heldout is not None
        return tuple(
            name for name in self.analysis.chosen if self.loss.trains or (name == "losses" and heldout)
        )

    @model_validator(mode="after")
    def something_is_measured(self) -> Self:
        if not self.benchmark and not self.analysis:
            raise ValueError(
                "benchmark: at least one is needed, e.g. benchmark=all or benchmark=[piqa,mt_bench]; or an analysis, "
                "e.g. analysis=[losses,memorisation]"
            )
        return self
