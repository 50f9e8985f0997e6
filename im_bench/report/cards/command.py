"""The command that makes the checkpoint of a card again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from im_bench.analysis.measures import ANALYSIS
from im_bench.config import Dataset, Model, Run, Subset
from im_bench.report.cards.known import Scored
from im_bench.report.words import in_order


def command(run: Run, scored: Sequence[Scored]) -> str:
    """The shell's words that train and score the same again; what lies on somebody's machine is a word in capitals."""
    return shlex.join(["im-bench", "run", *_words(run), *_asked_words(scored)])


def _words(run: Run) -> list[str]:
    """The overrides that give the same training.

    Every loss is told from `it`, so that also one with a name of its own has all its dials.
    """
    loss = run.loss.model_dump(exclude={"name"}, exclude_defaults=True)
    train = run.train.model_dump()
    name = [] if run.loss.name == "it" else [f"loss.name={run.loss.name}"]
    return [
        *_model_words(run.model),
        *_dataset_words(run.dataset),
        f"subset={run.subset.name}",
        *(f"subset.{name}={plain(value)}" for name, value in choice(run.subset).items()),
        *("loss=it", *name),
        *(f"loss.{name}={plain(value)}" for name, value in loss.items()),
        *(f"train.{name}={plain(value)}" for name, value in train.items()),
        f"seed={run.seed}",
    ]


def _asked_words(scored: Sequence[Scored]) -> list[str]:
    """The benchmarks and analyses that there are scores of."""
    rows = [each.row for each in scored]
    benchmarks = in_order(row.benchmark for row in rows if row.category != ANALYSIS)
    analyses = sorted({row.benchmark for row in rows if row.category == ANALYSIS})
    words = [f"benchmark=[{','.join(benchmarks)}]"] if rows else []
    return words + ([f"analysis=[{','.join(analyses)}]"] if analyses else [])


def _model_words(model: Model) -> Iterator[str]:
    if model.source == "local":
        yield from ("model=local", "model.path=FOLDER")
    else:
        yield f"model={model.name}"
    if model.chat_template != "tulu":
        yield f"model.chat_template={model.chat_template if model.chat_template.isidentifier() else 'FILE.jinja'}"


def _dataset_words(dataset: Dataset) -> Iterator[str]:
    if dataset.source == "mixture":
        parts = ", ".join(f"{name}: {part.fraction:g}" for name, part in dataset.parts.items())
        yield from ("dataset=mixture", f"dataset.parts={{{parts}}}")
    elif dataset.source == "local":
        yield from ("dataset=local", "dataset.path=FILE")
    else:
        yield f"dataset={dataset.name}"
        if dataset.source == "hub" and dataset.name == "hub":
            yield f"dataset.id={dataset.id}"
            yield from [f"dataset.revision={dataset.revision}"] * bool(dataset.revision)


def plain(value: object) -> str:
    """A value as Hydra reads it."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{name}: {plain(each)}' for name, each in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(plain, value))}]"
    if isinstance(value, bool | None):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)


def choice(subset: Subset) -> dict[str, Any]:
    """The dials of a subset that are turned."""
    return subset.model_dump(exclude={"name"}, exclude_defaults=True)
