"""Which conversations of a dataset are used."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from im_bench.config.values import Count, Frozen, NotNegative, Positive


class Subset(Frozen):
    """Which conversations of the dataset are used; all choices at random are nested for one seed."""

    name: Literal["full", "first", "random", "fraction", "stratified", "ratio", "ratio_window"]
    size: Count | None = None
    """How many conversations."""
    fraction: Annotated[float, Field(gt=0, le=1)] | None = None
    """How much of each source."""
    target: Positive | None = None
    """The instruction/output length ratio that the chosen conversations are nearest to."""
    window: tuple[NotNegative, NotNegative] | None = None
    """The lowest and highest instruction/output length ratio that is chosen from."""
    unit: Literal["words", "tokens"] = "words"
    """What lengths are counted in: words as the paper counts them, or tokens of the model."""

    @property
    def label(self) -> str:
        """Its name in tables, with the values that it is by."""
        window = self.window and "{:g}_{:g}".format(*self.window)
        values = [f"{value:g}" for value in (self.fraction, self.target) if value is not None]
        size = [] if self.size is None else [str(self.size)]
        unit = [] if self.unit == "words" else [self.unit]
        return "_".join([self.name, *values, *([window] if window else []), *unit, *size])

    @model_validator(mode="after")
    def values_go_with_a_choice(self) -> Self:
        for value in ("size", "fraction", "target", "window"):
            needed, given = value in SUBSETS[self.name], getattr(self, value) is not None
            if needed and not given:
                raise ValueError(
                    f"subset.{value}: subset={self.name} needs it, e.g. {SUBSET_EXAMPLES[value]}"
                )
            if given and not needed:
                users = " or ".join(f"subset={name}" for name, values in SUBSETS.items() if value in values)
                raise ValueError(
                    f"subset.{value}={getattr(self, value)} has no meaning with subset={self.name}; use {users}"
                )
        if self.window and self.window[0] > self.window[1]:
            raise ValueError("subset.window={:g},{:g}: the lowest ratio comes first".format(*self.window))
        if self.unit != "words" and "ratio" not in self.name:
            raise ValueError(f"subset.unit={self.unit} has no meaning with subset={self.name}")
        return self


SUBSETS: dict[str, tuple[str, ...]] = {
    "full": (),
    "first": ("size",),
    "random": ("size",),
    "fraction": ("fraction",),
    "stratified": ("size",),
    "ratio": ("target", "size"),
    "ratio_window": ("window", "size"),
}
"""The values that each choice is by."""
SUBSET_EXAMPLES = {
    "size": "subset.size=1000",
    "fraction": "subset.fraction=0.1",
    "target": "subset.target=10",
    "window": "'subset.window=[8, 12]'",
}
