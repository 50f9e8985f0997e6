"""What is measured of a checkpoint besides its scores: how far it knows what it was trained on."""

from __future__ import annotations

from im_bench.config.dataset import Dataset
from im_bench.config.values import Count, Frozen


class Losses(Frozen):
    """Losses on outputs and on instructions, of the training set and of conversations beside it."""

    heldout: Dataset | None
    """Conversations to hold against those of the training, by the name of a dataset of conf/dataset, or as
    `{path: FILE}`; null has none."""
    examples: Count | None
    """At most so many conversations of each set; null is all."""


class Memorisation(Frozen):
    """How much of a training output a model writes when it is asked what that answers."""

    examples: Count | None
    """At most so many conversations; null is all."""
    max_new_tokens: Count
    """Of an answer, which ends at the latest where the model's context does."""


class Analyses(Frozen):
    """Those that are asked for."""

    losses: Losses | None = None
    memorisation: Memorisation | None = None

    def __bool__(self) -> bool:
        return bool(self.chosen)

    @property
    def chosen(self) -> dict[str, Losses | Memorisation]:
        """By their names; first what asks the model that benchmarks have loaded."""
        found = {"memorisation": self.memorisation, "losses": self.losses}
        return {name: spec for name, spec in found.items() if spec is not None}
