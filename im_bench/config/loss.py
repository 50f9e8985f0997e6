"""Where the loss is: a point in one space, named or not."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from im_bench.config.values import Fraction, Frozen, Name, NotNegative

FIXED = {"it": (0.0, 1.0, 0.0), "im": (1.0, 1.0, 0.0), "full": (1.0, 1.0, 1.0)}
"""Prompt, output and template weight of the losses that are points; other names of conf/loss are of families."""
OPEN_GATES = ("all", 0, 0.0)
"""Turns, least prompt tokens and least ratio with which every token has the weight of its part."""


class Loss(Frozen):
    """A point in the loss space: the loss of a token is its weight times its negative log-likelihood."""

    name: Name
    """A label for tables; not part of the key."""
    prompt_weight: Fraction
    """Weight of an instruction or system token: 0 is IT, 1 is IM, between is prompt-loss weighting."""
    output_weight: Fraction
    """Weight of an output or end-of-turn token."""
    template_weight: Fraction
    """Weight of role markers and separators; 0 in Eq. 4 of the paper."""
    labels: Literal["parts", "released_it", "released_im"] = "parts"
    """Which tokens carry loss: by their part, or those that the published code leaves in its IT or IM."""
    turns: Literal["all", "last"] = "all"
    """Which outputs carry loss: all, or the last that is left of a conversation."""
    prompt_min_tokens: Annotated[int, Field(ge=0)] = 0
    prompt_min_ratio: NotNegative = 0.0
    """Prompts carry loss only where they have so many tokens, and so many for each token of output."""
    average: Literal["example", "token", "nonzero", "output"]
    """What the weighted sum of an optimiser step is divided by; see data/batching.py."""
    neftune_alpha: NotNegative = 0.0
    """Scale of the noise on the input embeddings; 0 is none."""
    kl_weight: NotNegative = 0.0
    """Weight of the KL term to the base model, for each token that carries loss."""
    kl: Literal["full", "target"] = "full"
    """Over the whole vocabulary, or the published code's: of the target token alone, which is no KL."""

    @property
    def trains(self) -> bool:
        """Whether anything carries loss; `none`, the base model as it is, has all weights zero."""
        return max(self._weights) > 0

    @property
    def _weights(self) -> tuple[float, float, float]:
        return self.prompt_weight, self.output_weight, self.template_weight

    @property
    def _gates(self) -> tuple[str, int, float]:
        return self.turns, self.prompt_min_tokens, self.prompt_min_ratio

    @model_validator(mode="after")
    def only_none_has_no_weight(self) -> Self:
        if self.trains == (self.name == "none"):
            dials = "{:g}, {:g}, {:g}".format(*self._weights)
            raise ValueError(
                f"loss={self.name}: prompt, output and template weight are {dials}; "
                "all are zero in loss=none and nowhere else"
            )
        return self

    @model_validator(mode="after")
    def a_fixed_name_is_its_point(self) -> Self:
        dials = (self._weights, self.labels, *self._gates, self.neftune_alpha, self.kl_weight)
        if self.name in FIXED and dials != (FIXED[self.name], "parts", *OPEN_GATES, 0.0, 0.0):
            raise ValueError(
                f"loss={self.name} with other dials than its own is another loss; name it, e.g. loss.name={self.name}_2"
            )
        return self

    @model_validator(mode="after")
    def an_end_of_turn_is_learned(self) -> Self:
        if self.trains and self.output_weight == 0:
            raise ValueError(
                f"loss.output_weight=0: with loss={self.name} no end of a turn would be trained, so the model "
                "would never stop; give outputs a weight"
            )
        return self

    @model_validator(mode="after")
    def published_labels_have_no_dials(self) -> Self:
        weights = {"released_it": (0.0, 1.0, 0.0), "released_im": (1.0, 1.0, 1.0)}.get(self.labels)
        if weights and (self._weights != weights or self._gates != OPEN_GATES):
            raise ValueError(
                f"loss.labels={self.labels} says itself which tokens carry loss, all alike; leave prompt, output "
                "and template weight, turns and thresholds as they are, or take loss.labels=parts"
            )
        return self

    @model_validator(mode="after")
    def kind_of_kl_needs_a_weight(self) -> Self:
        if self.kl != "full" and self.kl_weight == 0:
            raise ValueError(f"loss.kl={self.kl} has no meaning without loss.kl_weight above 0")
        return self
