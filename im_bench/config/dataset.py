"""The conversations that a model is trained on: a dataset, or a mixture of several."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from im_bench.config.values import Count, Frozen, Name


class Dataset(Frozen):
    """A set of conversations. What enters a key is the content of its files, not how they are reached."""

    name: Name
    source: Literal["toy", "hub", "address", "local", "mixture"]
    format: Literal["auto", "messages", "prompt_completion", "alpaca"] = "auto"
    path: str | None = None
    """A local file; for a published dataset, a local copy of it."""
    address: str | None = None
    """With `source: address`; of a pinned commit for every dataset in conf/."""
    id: str | None = None
    """Hub id, with `source: hub`."""
    revision: str | None = None
    """Hub commit; pinned for every dataset in conf/."""
    config: str | None = None
    """Of a hub dataset that has several."""
    split: str = "train"
    """Of a hub dataset."""
    sha256: str | None = None
    """Of the file's bytes; checked on every use where it is known."""
    git_blob: str | None = None
    """The name that git gives to the file's bytes; checked likewise."""
    num_examples: Count | None = None
    """Checked against what is read."""
    licence: str | None = None
    source_field: str | None = None
    """The field in which a row names where it is from: a stratum of `subset=fraction` and `subset=stratified`."""
    only: tuple[str, ...] = ()
    """Rows of these sources alone, by `source_field`."""
    allow_empty_output: bool = False
    """Whether an empty output is a row like any other (the model learns to stop at once) or a bad one."""
    on_bad_row: Literal["error", "skip"] = "error"
    """Whether a row that is no conversation stops the run, or is left out, counted and listed."""
    parts: dict[Name, MixturePart] = {}
    """What a mixture is made of."""

    @model_validator(mode="after")
    def source_has_its_place(self) -> Self:
        if self.source == "local" and not self.path:
            raise ValueError("dataset.path: give the file, e.g. dataset=local dataset.path=FILE.jsonl")
        if self.source == "address" and not (self.address or self.path):
            raise ValueError(
                "dataset.address: a published dataset needs its address, or dataset.path a local copy"
            )
        if self.source == "hub" and not (self.id or self.path):
            raise ValueError("dataset.id: a hub dataset needs its hub id, or dataset.path a local copy")
        if self.source == "mixture" and not self.parts:
            raise ValueError(
                "dataset.parts: name datasets and the fraction of each, e.g. dataset=mixture "
                "'dataset.parts={lima: 1, alpagasus_dolly_3k: 0.5}'"
            )
        return self

    @model_validator(mode="after")
    def a_mixture_says_nothing_of_its_parts(self) -> Self:
        said = [field for field in OF_PARTS if self.source == "mixture" and field in self.model_fields_set]
        if said:
            raise ValueError(
                f"dataset.{said[0]}: in a mixture each part has its own, e.g. "
                f"'dataset.parts={{lima: {{fraction: 1, {said[0]}: VALUE}}}}'"
            )
        return self

    @model_validator(mode="after")
    def only_needs_its_field(self) -> Self:
        if self.only and self.source_field is None:
            raise ValueError(
                "dataset.only: dataset.source_field must say in which field a row names its source"
            )
        return self


OF_PARTS = (
    *("path", "format", "address", "id", "revision", "sha256", "git_blob", "num_examples"),
    *("source_field", "only", "allow_empty_output", "on_bad_row"),
)


class MixturePart(Frozen):
    """One dataset of a mixture."""

    dataset: Dataset
    fraction: Annotated[float, Field(gt=0, le=1)]
    """How much of the dataset is taken, of each of its own sources alike; at random, nested for one seed."""
