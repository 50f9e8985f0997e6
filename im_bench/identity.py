"""Identity: what of a run changes a number, one class for each kind of step. These are hashed, and nothing else is.

They are other types than the config's, so that what only says where or how a step runs cannot get into a key. A
field with a Python default is left out of the key while it holds it; such a default may never change.
"""

from __future__ import annotations

from typing import Any, Literal

from im_bench.config import Frozen, HumanEval, Subset, Train


class BaseIdentity(Frozen):
    """An untrained checkpoint. `sha256` is of a local folder's content or of the toy corpus."""

    source: Literal["toy", "hub", "local"]
    template_sha256: str
    id: str | None = None
    revision: str | None = None
    sha256: str | None = None
    seed: int | None = None


class LossIdentity(Frozen):
    """The dials of a loss without its label, so that two names of one point share their training."""

    prompt_weight: float
    output_weight: float
    template_weight: float
    average: str
    labels: str = "parts"
    turns: str = "all"
    prompt_min_tokens: int = 0
    prompt_min_ratio: float = 0.0
    neftune_alpha: float = 0.0
    kl_weight: float = 0.0
    kl: Literal["full", "target"] = "full"


class SourceIdentity(Frozen):
    """What is read of one file of conversations."""

    sha256: str
    format: Literal["messages", "prompt_completion", "alpaca"]
    fraction: float = 1.0
    source_field: str | None = None
    only: tuple[str, ...] = ()
    allow_empty_output: bool = False
    on_bad_row: Literal["error", "skip"] = "error"


class TrainIdentity(Frozen):
    """A trained checkpoint; the base model is the step it needs."""

    dataset: tuple[SourceIdentity, ...]
    """One file, or those of a mixture."""
    subset: Subset
    loss: LossIdentity
    train: Train
    seed: int


EngineKind = Literal["hf", "vllm", "sglang", "server"]
"""Engines agree to the last bits of a log-likelihood only, so scores of one are not taken for another's. `context` is
what an engine was told to hold; null is what the model does."""


class HarnessIdentity(Frozen):
    """One benchmark's scores of one checkpoint. `data_sha256` is `official` for the hub's own data."""

    benchmark: str
    benchmark_version: int
    shots: int | None
    limit: int | None
    data_sha256: str
    prompt: Literal["raw", "chat"] = "raw"
    engine: EngineKind = "hf"
    context: int | None = None
    epoch: int | None = None


class HumanEvalIdentity(Frozen):
    """HumanEval's score of one checkpoint."""

    benchmark_version: int
    spec: HumanEval
    limit: int | None
    data_sha256: str
    seed: int
    engine: EngineKind = "hf"
    context: int | None = None
    epoch: int | None = None


class AnswersIdentity(Frozen):
    """What one checkpoint answered to a set of questions, whoever judges them later."""

    questions: Literal["mt_bench", "alpaca_eval"]
    questions_sha256: str
    max_new_tokens: int
    limit: int | None
    seed: int
    engine: EngineKind = "hf"
    context: int | None = None
    epoch: int | None = None


class LossesIdentity(Frozen):
    """Losses of one checkpoint. What it was trained on is in the step that it needs."""

    analysis: Literal["losses"]
    heldout: tuple[SourceIdentity, ...]
    """None, one file, or those of a mixture."""
    examples: int | None
    max_tokens: int
    precision: Literal["bf16", "fp32"]
    epoch: int | None = None


class MemorisationIdentity(Frozen):
    """What one checkpoint answers to what it was trained on, which is in the step that it needs."""

    analysis: Literal["memorisation"]
    examples: int | None
    max_new_tokens: int
    engine: EngineKind = "hf"
    context: int | None = None
    epoch: int | None = None


class GivenIdentity(Frozen):
    """Answers that somebody else's model gave."""

    questions: Literal["mt_bench", "alpaca_eval"]
    sha256: str
    limit: int | None


class JudgeIdentity(Frozen):
    """What of a judge changes its verdicts."""

    kind: Literal["overlap", "openai", "replay"]
    model: str | None = None
    temperature: float | None = None
    body: dict[str, Any] = {}
    sha256: tuple[str, ...] = ()
    """Of the files of a replay."""
    pairwise: Literal["own", "ranking"] = "own"
    both_orders: bool = False


class VerdictsIdentity(Frozen):
    """What one judge said of one set of answers. The assets are references and prompts, by name."""

    benchmark: str
    benchmark_version: int
    judge: JudgeIdentity
    assets_sha256: dict[str, str]
    seed: int
    length_control: bool = False
