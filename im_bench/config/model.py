"""The base model that a cell begins with."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from im_bench.config.values import Frozen, Name, Positive


class Model(Frozen):
    """The base model of a cell."""

    name: Name
    """The word in tables, e.g. `llama2_7b`."""
    source: Literal["toy", "hub", "local"]
    chat_template: str
    """`tulu`, `own` (the tokenizer's), or the path of a Jinja file."""
    id: str | None = None
    """Hub id, with `source: hub`."""
    revision: str | None = None
    """Hub commit; pinned for every model in conf/."""
    path: str | None = None
    """A folder with weights and tokenizer, with `source: local`."""
    parameters: Positive | None = None
    """Billions, for what `plan` says; null counts those of weights that are at hand."""

    @model_validator(mode="after")
    def source_has_its_place(self) -> Self:
        if self.source == "hub" and not self.id:
            raise ValueError("model.id: a hub model needs its hub id")
        if self.source == "local" and not self.path:
            raise ValueError("model.path: give the folder of the model, e.g. model=local model.path=FOLDER")
        return self
