"""The shapes of everything in conf/.

A composed config is text until `validated` turns it into one frozen `Run`; below that line there are
attributes only. Values live in YAML, shapes live here; what of them enters a key is in `identity.py`.
"""

from __future__ import annotations

from datetime import date as Date
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar
from urllib.parse import urlsplit

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from yaml import YAMLError

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Name = Annotated[str, Field(pattern=r"^[\w.-]+$")]
"""It becomes part of a folder's name."""


Shape = TypeVar("Shape", bound=BaseModel)


class UserError(ValueError):
    """Something the user can mend; the message names the key, or the file and row, and the remedy."""


class Frozen(BaseModel):
    """A value: immutable, and an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


# --- what is computed: changing a value here should change a number in the table ---


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

    @model_validator(mode="after")
    def source_has_its_place(self) -> Self:
        if self.source == "hub" and not self.id:
            raise ValueError("model.id: a hub model needs its hub id")
        if self.source == "local" and not self.path:
            raise ValueError("model.path: give the folder of the model, e.g. model=local model.path=FOLDER")
        return self


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


class Lora(Frozen):
    """Low-rank updates instead of all weights."""

    rank: Count
    alpha: Count
    """The updates are scaled by alpha / rank."""
    dropout: Fraction


class Train(Frozen):
    """Everything of the optimisation that changes the weights it ends in."""

    epochs: Count
    global_batch: Count
    """Conversations in one optimiser step, however they are split over micro-batches."""
    max_tokens: Annotated[int, Field(ge=8)]
    """Longer conversations are cut on the right."""
    learning_rate: Positive
    warmup_ratio: Fraction
    schedule: Literal["linear", "cosine", "constant"]
    weight_decay: NotNegative
    beta1: Fraction
    beta2: Fraction
    epsilon: Positive
    max_grad_norm: NotNegative
    """Gradient clipping; 0 is none."""
    precision: Literal["fp32", "bf16"]
    """Of the arithmetic; weights are kept in fp32 while they train, and saved in this."""
    lora: Lora | None = None
    """None trains all weights."""
    save_epochs: bool = False
    """Whether a checkpoint is kept after every epoch: `epochs/N` of the step's folder, and itself for the last."""


class Harness(Frozen):
    """One benchmark of lm-evaluation-harness; its tasks and metric are in evaluation/benchmarks.py."""

    runner: Literal["harness"]
    shots: Annotated[int, Field(ge=0)] | None
    """Examples in the prompt; null keeps what the task itself says."""
    prompt: Literal["raw", "chat"] = "raw"
    """The task's text as it is, as in the paper, or as a user's turn in the checkpoint's chat template."""


class HumanEval(Frozen):
    """Programs written by the model, run in the sandbox."""

    runner: Literal["humaneval"]
    samples: Count
    """Programs per problem and temperature."""
    temperatures: Annotated[tuple[Annotated[float, Field(ge=0, le=2)], ...], Field(min_length=1)]
    """The first is the score; the `published` reading takes the best of all."""
    top_p: Fraction
    max_new_tokens: Count

    @field_validator("temperatures")
    @classmethod
    def temperatures_differ(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if len({f"{each:g}" for each in value}) < len(value):  # as scores are named by them
            raise ValueError(
                f"benchmark.humaneval.temperatures={list(value)}: one is there more than once; each needs its own"
            )
        return value


class MTBench(Frozen):
    """Two-turn questions, graded 1 to 10 by the judge."""

    runner: Literal["mt_bench"]
    max_new_tokens: Count
    """Per turn."""


class AlpacaEval(Frozen):
    """Win rate against the reference model of AlpacaEval 1.0 or 2.0, by the judge."""

    runner: Literal["alpaca_eval"]
    version: Literal[1, 2]
    max_new_tokens: Count
    length_controlled: bool = False
    """Whether the length-controlled win rate of 2.0 is computed beside the plain one."""

    @model_validator(mode="after")
    def length_control_is_of_2(self) -> Self:
        if self.length_controlled and self.version == 1:
            raise ValueError("benchmark.alpaca_eval_1.length_controlled: length control is of AlpacaEval 2.0")
        return self


Benchmark = Annotated[Harness | HumanEval | MTBench | AlpacaEval, Field(discriminator="runner")]


def checked_address(address: str | None, key: str) -> str | None:
    """An address with /v1; it stands in messages and records, so it holds no password."""
    if address is None:
        return None
    try:
        parts = urlsplit(address)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"{key}.base_url={address}: is no address; it begins with http:// or https://, and ends in /v1"
        )
    if parts.username is not None:
        raise ValueError(
            f"{key}.base_url: a password has no place in an address; name its variable in {key}.api_key_env"
        )
    return address


class Price(Frozen):
    """What a served judge takes, in US dollars per million tokens."""

    prompt: NotNegative
    answer: NotNegative
    date: Date
    """When it was so: prices change."""


class AnyJudge(Frozen):
    """What every kind of judge has."""

    name: Annotated[str, Field(min_length=1)]
    """The judge's name in tables."""
    pairwise: Literal["own", "ranking"] = "own"
    """How two answers are compared: as each version of AlpacaEval does (2.0 weighs the log-probabilities of one token),
    or by the ranking prompt of 1.0 in both."""
    both_orders: bool = False
    """Whether two answers are shown in both orders, their preferences being averaged, so that a disagreement is a tie;
    else each pair is shown once, in an order drawn by alpaca_eval."""

    @property
    def label(self) -> str:
        """The name, with whatever makes this another judge than the plain one of that name."""
        ways = [*self._other(), *(["ranking"] if self.pairwise == "ranking" else [])]
        ways += ["both orders"] if self.both_orders else []
        return f"{self.name} ({', '.join(ways)})" if ways else self.name

    def _other(self) -> list[str]:
        return []


class Overlap(AnyJudge):
    """Offline and deterministic: token F1 against reference answers."""

    kind: Literal["overlap"]


class Replay(AnyJudge):
    """Verdicts that somebody's judge has given: FastChat's judgments or alpaca_eval's annotations."""

    kind: Literal["replay"]
    files: Annotated[tuple[Path, ...], Field(min_length=1)]
    """One, or several."""

    @field_validator("files", mode="before")
    @classmethod
    def one_or_several(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value


OF_A_REQUEST = frozenset(
    {"model", "messages", "temperature", "seed", "n", "stream", "logprobs", "top_logprobs"}
)
OF_A_REQUEST_SAYS = (
    "judge.model and judge.temperature have keys of their own, and the rest is the benchmark's"
)


class Served(AnyJudge):
    """A language model behind any OpenAI-compatible endpoint."""

    kind: Literal["openai"]
    model: str
    temperature: Annotated[float, Field(ge=0, le=2)] | None
    """Null sends none, for models that take none."""
    body: dict[str, Any] = {}
    """More of each request, e.g. `{reasoning_effort: low}`; with `max_completion_tokens`, `max_tokens` is not sent."""
    base_url: str | None
    """Any OpenAI-compatible endpoint; null is the SDK's default."""
    api_key_env: str | None
    """Name of the environment variable that holds the key; the key itself is never in a config."""
    concurrency: Count
    """Requests at once; fewer where the server's rate limits say so."""
    timeout_seconds: Positive
    """Of one try."""
    deadline_seconds: Positive
    """Of one verdict with all its tries; then the pass stops, and keeps what it has."""
    price: Price | None = None
    budget: Positive | None = None
    """US dollars that the verdicts of this judge, all that are kept in paths.results together, may cost."""
    tokenizer: str | None = None
    """Hub id or folder of the judge's tokenizer, for estimates; null is the cell's own."""
    retired: str | None = None
    """For a model that is no longer served: since when, and by whom."""

    def _other(self) -> list[str]:
        sampling = [] if self.temperature == 0 else [f"temperature {self.temperature}"]
        return sampling + [f"{key} {value}" for key, value in sorted(self.body.items())]

    @field_validator("base_url")
    @classmethod
    def it_is_an_address(cls, value: str | None) -> str | None:
        return checked_address(value, "judge")

    @field_validator("body")
    @classmethod
    def body_leaves_what_has_its_own_key(cls, value: dict[str, Any]) -> dict[str, Any]:
        for key in OF_A_REQUEST & value.keys():
            raise ValueError(f"judge.body.{key}: is not for you to say here; {OF_A_REQUEST_SAYS}")
        for key in ("max_tokens", "max_completion_tokens"):
            if key in value and (not isinstance(value[key], int) or value[key] < 1):
                raise ValueError(f"judge.body.{key}={value[key]}: give a number of tokens from 1")
        return value

    @model_validator(mode="after")
    def a_budget_needs_a_price(self) -> Self:
        if self.budget is not None and self.price is None:
            raise ValueError(
                "judge.budget: needs judge.price, in US dollars per million tokens, e.g. "
                "'judge.price={prompt: 2.5, answer: 10, date: 2026-11-01}'"
            )
        return self


Judge = Annotated[Overlap | Replay | Served, Field(discriminator="kind")]


def judge_for(judge: Judge, spec: Benchmark) -> Judge:
    """The judge as one benchmark uses it: ways that it does not know make no other judge of it."""
    both_orders = judge.both_orders and isinstance(spec, AlpacaEval)
    ranks = isinstance(spec, AlpacaEval) and spec.version == 2
    pairwise = judge.pairwise if ranks else "own"
    return judge.model_copy(update={"both_orders": both_orders, "pairwise": pairwise})


# --- where and how it runs: none of this reaches a key ---


class Runtime(Frozen):
    """The machine."""

    device: Literal["cpu", "cuda"]
    micro_batch_tokens: Count
    """Most tokens, padding included, that one forward pass of training holds."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass instead of keeping them."""
    attention: Literal["eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention"] = "sdpa"
    layout: Literal["auto", "buckets", "packed"] = "auto"
    """How an optimiser step lies in micro-batches: examples of like length side by side, or end to end in one row.
    `auto` packs where attention skips what is masked."""
    processes: Count = 1
    """Of one training, each on a device of its own."""
    parallel: Literal["ddp", "fsdp"] = "fsdp"
    """Whether several processes each hold the whole model or a shard of it (FSDP2)."""
    save_steps: Count
    """Optimiser steps between two saved training states, from which an interrupted training goes on."""
    threads: Count | None
    """CPU threads of torch; null leaves torch's choice."""

    @property
    def packed(self) -> bool:
        """Whether examples lie end to end."""
        if self.layout == "auto":
            return self.attention.startswith(("flash", "flex"))
        return self.layout == "packed"


class HF(Frozen):
    """transformers, in process."""

    kind: Literal["hf"]
    batch_size: int | Literal["auto"]
    """Prompts at once; `auto` fills the memory of the device. Where that is too many, it is halved."""

    @field_validator("batch_size", mode="before")
    @classmethod
    def is_auto_or_a_number(cls, value: object) -> object:
        if value != "auto" and (not isinstance(value, int) or value < 1):
            raise ValueError(f"engine.batch_size={value}: give a number of prompts from 1, or auto")
        return value


class Fast(Frozen):
    """vLLM or SGLang, in process: engines for GPUs."""

    kind: Literal["vllm", "sglang"]
    gpus: Count
    """Over which each layer is split."""
    memory: Annotated[float, Field(gt=0, le=1)]
    """Share of a GPU's memory that it takes."""
    max_length: Count | None
    """Tokens of prompt and answer together; null is what the model holds."""


class Server(Frozen):
    """A completions server that somebody started for the checkpoint: vLLM's, or any that speaks OpenAI's protocol."""

    kind: Literal["server"]
    base_url: str
    """Up to and with /v1."""
    model: str | None
    """The served name; null takes the one that is the checkpoint by its name or its `root`."""
    api_key_env: str | None
    """Name of the environment variable that holds the key; the key itself is never in a config."""
    concurrency: Count
    """Requests at once."""
    timeout_seconds: Positive
    retries: Count
    """Of one request that fails; then the benchmark does."""
    max_length: Count | None
    """Tokens of prompt and answer together; null is what the model holds, and the server must."""

    @field_validator("base_url")
    @classmethod
    def it_is_an_address(cls, value: str) -> str:
        return checked_address(value, "engine") or value


Engine = Annotated[HF | Fast | Server, Field(discriminator="kind")]


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

    benchmark: dict[str, Benchmark]
    judge: Judge
    limit: Count | None
    """At most so many items of every task; null is all."""
    engine: Engine
    runtime: Runtime
    tracker: Tracker
    report: Report

    @model_validator(mode="after")
    def something_is_measured(self) -> Self:
        if not self.benchmark:
            raise ValueError(
                "benchmark: at least one is needed, e.g. benchmark=all or benchmark=[piqa,mt_bench]"
            )
        return self


def validated(cfg: DictConfig) -> Run:
    """The one place where a composed config becomes a `Run`.

    Raises:
        UserError: naming every key that is missing, unknown or out of its range.
    """
    _name_no_judge(cfg)
    return _validated(cfg, Run)


JUDGED = ("mt_bench", "alpaca_eval")
"""Runners of benchmarks that need a judge."""


def _name_no_judge(cfg: DictConfig) -> None:
    """Where nobody is asked to judge, nobody need be named."""
    chosen = cfg.benchmark if "benchmark" in cfg else None
    specs = [spec for spec in (chosen or {}).values() if isinstance(spec, DictConfig)]
    if OmegaConf.is_missing(cfg.judge, "model") and not any(spec.get("runner") in JUDGED for spec in specs):
        cfg.judge.model = "none"


def training_values(cfg: DictConfig) -> Training:
    """What a training needs of a composed config; what else is missing or wrong does not matter."""
    return _validated(OmegaConf.masked_copy(cfg, list(Training.model_fields)), Training)


def _validated(cfg: DictConfig, shape: type[Shape]) -> Shape:
    try:
        # Unresolved first: a missing value is then named itself, not a key that refers to it.
        OmegaConf.to_container(cfg, throw_on_missing=True)
        values: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]  # a dict at the top
    except MissingMandatoryValue as error:
        raise UserError(_needed(str(error.full_key))) from None
    except OmegaConfBaseException as error:
        raise UserError(f"{error.full_key}: {str(error.msg).splitlines()[0]}") from None
    try:
        return shape.model_validate(values)
    except ValidationError as error:
        raise UserError("\n".join(_sentence(problem) for problem in error.errors())) from None


def report_values(cfg: DictConfig) -> tuple[Paths, Report]:
    """What rendering scores again needs of a composed config; what else is missing or wrong does not matter."""
    paths, report = (OmegaConf.to_container(cfg[group], resolve=True) for group in ("paths", "report"))
    try:
        return Paths.model_validate(paths), Report.model_validate(report)
    except ValidationError as error:
        raise UserError("\n".join(_sentence(problem) for problem in error.errors())) from None


def _sentence(problem: Any) -> str:
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "value_error":
        return message
    place = problem["loc"]
    # Where a value has one of several shapes, pydantic names the shape it took it for; that is no key of the user's.
    shape = {"benchmark": 2, "engine": 1, "judge": 1}.get(str(place[0]), len(place))
    words = place[:shape] + place[shape + 1 :]
    # A part of a mixture is said flat: its fraction beside what is said of its dataset.
    if place[:2] == ("dataset", "parts") and place[3:4] == ("dataset",):
        words = place[:3] + place[4:]
    key = ".".join(map(str, words))
    match problem["type"]:
        case "missing":
            return _needed(key)
        case "extra_forbidden":
            return f"{key}: there is no such key"
    return f"{key}={problem['input']!r}: {message[0].lower()}{message[1:]}"


def _needed(key: str) -> str:
    return f"{key}: a value is needed, e.g. {key}=VALUE"


def load_yaml(path: Path) -> dict[str, Any]:
    """A YAML file as plain values, interpolations unresolved.

    Raises:
        UserError: when it is not YAML, or holds anything but keys.
    """
    try:
        values = OmegaConf.to_container(OmegaConf.load(path))
    except YAMLError as error:
        raise UserError(f"not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected keys, found {type(values).__name__}")
    return values  # type: ignore[return-value]  # its keys are words
