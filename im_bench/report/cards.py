"""Model cards: the README.md with which a trained checkpoint goes to the hub.

A card is a pure function of what is known of its checkpoint, without a date or a place, so that equal checkpoints with
equal scores have equal bytes. Nothing in it says where on a machine anything lies.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from im_bench.analysis.measures import ANALYSIS
from im_bench.config import Dataset, Loss, Model, Run, Subset
from im_bench.drafts import drafted
from im_bench.report.collect import Row
from im_bench.report.measures import analysis_id
from im_bench.report.readings import metric, to_percent
from im_bench.report.words import ANALYSES, benchmark_column, in_order
from im_bench.store import CARD

HUB = "https://huggingface.co"
AVERAGES = {
    "example": "the loss of an example is the weighted mean over its tokens, that of an optimiser step the mean over "
    "its examples",
    "token": "the loss of an optimiser step is the weighted sum over its tokens, divided by the sum of their weights",
    "nonzero": "the loss of an optimiser step is the weighted sum over its tokens, divided by the count of tokens "
    "with a weight",
    "output": "the loss of an optimiser step is the weighted sum over its tokens, divided by the count of output and "
    "end tokens",
}
"""See im_bench/data/batching.py."""
LOAD = """```python
from transformers import AutoModelForCausalLM, AutoTokenizer

place = "."  # this folder, or the repository's id on the hub
tokenizer = AutoTokenizer.from_pretrained(place)
model = AutoModelForCausalLM.from_pretrained(place)
prompt = tokenizer.apply_chat_template(
    [{"role": "user", "content": "Name three colours."}],
    add_generation_prompt=True,
    return_dict=True,
    return_tensors="pt",
)
answer = model.generate(**prompt, max_new_tokens=256, do_sample=False)
print(tokenizer.decode(answer[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True))
```"""


class Scored(NamedTuple):
    """A row of the ledger that is of the card's checkpoint."""

    row: Row
    asked: str
    """How it was asked, e.g. `25 shots, first 8 of each task`."""
    data: str | None
    """Beginning of the sha256 of the benchmark's data, where they are not those that im-bench fetches."""


class Made(NamedTuple):
    """How a checkpoint came to be."""

    name: str
    """Label of its step."""
    key: str
    identity: Mapping[str, Any]
    """Config of the training's identity: the files it read, and its loss without what stands at its default."""
    base: Mapping[str, Any]
    """Config of the base model's identity."""
    made: Mapping[str, Any]
    """`python` and `packages` of the record."""
    labels: Mapping[str, Any]
    """The label report."""
    training: Mapping[str, Any]
    """What the training came to, see `im_bench.training.trainer.fit`."""


def card(run: Run, scored: Sequence[Scored], made: Made) -> str:
    """The card of the checkpoint that `run` scores: front matter as the hub reads it, and Markdown.

    Args:
        scored: rows of that checkpoint, from any sweep and in any order; one step's number may stand twice.
    """
    shown = _distinct(scored)
    sections = (
        ("", _what(run, made)),
        ("Loss", _loss(run.loss, made)),
        ("Base model", [_base(run.model, made.base)]),
        ("Training data", _data(run, made)),
        ("Training", _training(run, made)),
        ("Scores", _scores(shown)),
        ("How to use it", [LOAD]),
        ("How it was made", _making(run, shown, made)),
        ("Limits", _limits(run, shown, made.labels)),
        ("Licence", [_licence(run)]),
    )
    text = [f"---\n{_front_matter(run, shown, made)}\n---", f"# {_name(run, made)}"]
    for heading, paragraphs in sections:
        text += [f"## {heading}"] * bool(heading)
        text += paragraphs
    return "\n\n".join(text) + "\n"


def write_card(folder: Path, text: str) -> None:
    """Write a card beside its weights, by rename; one that is there already and says the same is left alone."""
    place = folder / CARD
    if not place.is_file() or place.read_bytes() != text.encode():
        with drafted(place) as draft:
            draft.write_bytes(text.encode())


def _name(run: Run, made: Made) -> str:
    return made.name if run.scored_epoch is None else f"{made.name}-epoch{run.scored_epoch}"


def _distinct(scored: Sequence[Scored]) -> list[Scored]:
    """The numbers that a card shows, each once, in the paper's order."""
    once: dict[tuple[str, str, str], Scored] = {}
    for each in sorted(scored, key=lambda each: each.row.place):
        row = each.row
        shown = row.task in (row.benchmark, f"{row.benchmark}_length_controlled")
        if shown or (row.category == ANALYSIS and row.value is not None):
            once.setdefault((row.step, row.task, row.metric), each)
    rank = {
        name: number for number, name in enumerate(in_order(each.row.benchmark for each in once.values()))
    }

    def order(each: Scored) -> tuple[object, ...]:
        row = each.row
        return (
            rank[row.benchmark],
            row.task,
            row.metric,
            row.judge or "",
            each.asked,
            each.data or "",
            row.step,
        )

    return sorted(once.values(), key=order)


# --- front matter ---


def _front_matter(run: Run, scored: Sequence[Scored], made: Made) -> str:
    """YAML without its rules. What is not known (language, licence) is left out."""
    # It loads what speaks with the hub, which takes a while.
    from huggingface_hub.repocard_data import ModelCardData

    base = run.model.id if run.model.source == "hub" else None
    results = [
        _result(each) for each in scored if each.row.value is not None and each.row.category != ANALYSIS
    ]
    data = ModelCardData(
        base_model=base,
        datasets=sorted({each.id for each in _datasets(run.dataset) if each.source == "hub" and each.id})
        or None,
        library_name="transformers",
        pipeline_tag="text-generation",
        # The hub takes a bare `it` for a language.
        tags=["im-bench", "instruction-tuning", f"loss-{run.loss.name}"],
        base_model_relation="finetune" if base else None,
        model_name=_name(run, made),
        eval_results=results or None,
    )
    if not results:
        data.pop("model_name")
    return data.to_yaml(line_break="\n")


def _result(each: Scored) -> Any:
    """One number as the hub's model-index has it."""
    from huggingface_hub.repocard_data import EvalResult

    row = each.row
    value, stderr, unit = _in_unit(row)
    known = {
        "stderr": stderr,
        "count": row.count,
        "total": row.total,
        "direction": row.direction,
        "judge": row.judge,
        "asked": each.asked or None,
        "note": row.reading_note,
    }
    return EvalResult(
        task_type="text-generation",
        dataset_type=row.benchmark,
        dataset_name=_heading(each),
        dataset_config=None if each.data is None else f"local-{each.data}",
        metric_type=metric(row),
        metric_name=", ".join(filter(None, (_measure(row), unit, row.judge and f"judge {row.judge}"))),
        metric_value=value,
        metric_args={name: known[name] for name in known if known[name] is not None},
        verified=False,
    )


# --- sections ---


def _what(run: Run, made: Made) -> list[str]:
    after = (
        ""
        if run.scored_epoch is None
        else f", as it was after epoch {run.scored_epoch} of {run.train.epochs}"
    )
    chosen = "" if run.subset.name == "full" else f" (subset `{run.subset.label}`)"
    tuned = (
        "tuned by low-rank updates, which are merged into its weights," if run.train.lora else "tuned in full"
    )
    sentences = [
        f"`{run.model.name}` {tuned} on {made.labels['kept']:,} conversations of `{run.dataset.name}`{chosen} with "
        f"loss `{run.loss.name}`{after}. It is a cell of an experiment of im-bench, which asks on which tokens the "
        "loss of instruction tuning should be ([arXiv 2405.14394](https://arxiv.org/abs/2405.14394))."
    ]
    if run.train.save_epochs and run.scored_epoch is None and run.train.epochs > 1:
        sentences.append(
            f"Folders `epochs/1` to `epochs/{run.train.epochs - 1}`, where they hold weights, are the checkpoints "
            "after these epochs."
        )
    return [" ".join(sentences)]


def _loss(loss: Loss, made: Made) -> list[str]:
    dials = " ".join(f"{name}={_plain(value)}" for name, value in made.identity["loss"].items())
    labels = made.labels
    parts = [
        (part, f"{count:,}", f"{labels['supervised'][part]:,}")
        for part, count in labels["tokens"].items()
        if count
    ]
    whole = sum(labels["tokens"].values())
    return [
        f"The loss of a token is its weight times its negative log-likelihood; {AVERAGES[loss.average]}. "
        f"{' '.join(_dials(loss))} In im-bench's words: `{dials}`.",
        f"Of {whole:,} tokens {labels['supervised_tokens']:,} carry loss ({labels['supervised_tokens'] / whole:.1%}):",
        _table(("part", "tokens", "carry loss"), parts),
    ]


def _dials(loss: Loss) -> Iterator[str]:
    """What the dials of a loss mean, a sentence for each that is turned."""
    if loss.labels == "parts":
        yield (
            f"Instruction and system tokens weigh {loss.prompt_weight:g}, output and end-of-turn tokens "
            f"{loss.output_weight:g}, template tokens (role markers, separators) {loss.template_weight:g}."
        )
    else:
        published = loss.labels.removeprefix("released_").upper()
        yield (
            "The tokens that carry loss are those that the published code of arXiv 2405.14394 leaves in its "
            f"{published}, all with weight 1."
        )
    if loss.turns == "last":
        yield "Of a conversation the last output alone carries loss."
    if loss.prompt_min_tokens or loss.prompt_min_ratio:
        yield (
            f"Prompts carry loss only where they have at least {loss.prompt_min_tokens} tokens, and "
            f"{loss.prompt_min_ratio:g} for each token of output."
        )
    if loss.neftune_alpha:
        yield f"Input embeddings had uniform noise while training (NEFTune, alpha {loss.neftune_alpha:g})."
    if loss.kl_weight:
        kind = (
            "the KL divergence of the next-token distribution to the base model's"
            if loss.kl == "full"
            else "the log ratio of the target token's probability to the base model's (the published code's KL term)"
        )
        yield f"Added to each token that carries loss is {loss.kl_weight:g} times {kind}."


def _base(model: Model, identity: Mapping[str, Any]) -> str:
    template = {"own": "the base model's own"}.get(model.chat_template, f"`{model.chat_template}`")
    if not model.chat_template.isidentifier():
        template = "of a file"
    said = f"The chat template is {template}; it is in `chat_template.jinja`."
    match model.source:
        case "hub":
            revision = f" at revision `{model.revision}`" if model.revision else ""
            return f"[{model.id}]({HUB}/{model.id}){revision}. {said}"
        case "local":
            return (
                f"`{model.name}`, a model in a folder (sha256 of its files `{identity['sha256']}`). Its id on the hub "
                f"is not known, so the front matter names no base model; add `base_model` if you know it. {said}"
            )
        case "toy":
            return (
                "im-bench's toy model: a Llama of a few million parameters, pretrained on a small made-up world. It "
                f"has no id on the hub, so the front matter names no base model. {said}"
            )


def _data(run: Run, made: Made) -> list[str]:
    rows = [
        (f"`{each.name}`", _origin(each), f"`{source['sha256']}`", f"{source.get('fraction', 1.0):g}")
        for each, source in zip(_datasets(run.dataset), made.identity["dataset"], strict=True)
    ]
    labels = made.labels
    gone = [
        f"{len(labels[name])} {why}"
        for name, why in (
            ("dropped_rows", "were dropped, as no output fits"),
            ("skipped_rows", "rows were no conversations"),
        )
        if labels[name]
    ]
    ratio = labels["words"]["instruction_over_output"]
    return [
        _table(("dataset", "from", "sha256 of its file", "fraction taken"), rows),
        f"{_subset(run.subset)} chosen: {labels['conversations']:,} conversations, {labels['kept']:,} of "
        f"them trained on, {labels['truncated']:,} of those cut at {run.train.max_tokens:,} tokens"
        f"{''.join(f'; {each}' for each in gone)}. Instructions are "
        f"{'n/a' if ratio is None else format(ratio, '.2f')} times as long as outputs, in words.",
    ]


def _training(run: Run, made: Made) -> list[str]:
    train, totals = run.train, made.training
    lora = train.lora
    rows = {
        "epochs": f"{train.epochs}",
        "optimiser steps": f"{totals['steps']:,}",
        "conversations in one step": f"{train.global_batch:,}",
        "most tokens of a conversation": f"{train.max_tokens:,}",
        "optimiser": f"AdamW, betas {train.beta1:g} and {train.beta2:g}, epsilon {train.epsilon:g}",
        "learning rate": f"{train.learning_rate:g}, {train.schedule}, warm-up {train.warmup_ratio:.1%} of steps",
        "weight decay": f"{train.weight_decay:g}",
        "gradient clipping": f"{train.max_grad_norm:g}" if train.max_grad_norm else "none",
        "precision": train.precision,
        "low-rank updates": f"rank {lora.rank}, alpha {lora.alpha}, dropout {lora.dropout:g}"
        if lora
        else "none",
        "seed": f"{run.seed}",
        "tokens read, all epochs": f"{totals['tokens']:,}",
        "tokens with loss, all epochs": f"{totals['supervised_tokens']:,}",
        "FLOPs": f"{totals['flops']:.3g}",
        "mean training loss": f"{totals['loss']:.4f}",
        "device": f"{totals['device']}, {totals['processes']} process{'es' * (totals['processes'] != 1)}",
    }
    table = _table(("", "value"), list(rows.items()))
    if run.scored_epoch is None:
        return [table]
    return [table, f"These are of all {train.epochs} epochs, over which the learning rate is scheduled."]


def _scores(scored: Sequence[Scored]) -> list[str]:
    benchmarks = [each for each in scored if each.row.category != ANALYSIS]
    analyses = [each.row for each in scored if each.row.category == ANALYSIS]
    text = ["Not scored yet."] if not benchmarks else [_score_table(benchmarks), *_notes(benchmarks)]
    if analyses:
        headings = {column.id: column.heading for column in ANALYSES}
        rows = [
            (
                headings.get(analysis_id(row), analysis_id(row)),
                f"{row.value:.4f}",
                _error(row.stderr, 4),
                f"{row.count:,}",
            )
            for row in analyses
        ]
        heading = ("analysis", "value", "standard error", "conversations")
        text += [
            "Losses and KL are in nats, BLEU is from 0 to 100, shares are from 0 to 1.",
            _table(heading, rows),
        ]
        text += sorted({f"- {row.benchmark}: {row.reading_note}." for row in analyses if row.reading_note})
    return text


def _score_table(scored: Sequence[Scored]) -> str:
    judged = any(each.row.judge for each in scored)
    rows = []
    for each in scored:
        row = each.row
        value, stderr, unit = _in_unit(row)
        measure = ", ".join(
            filter(None, (_measure(row), unit, "lower is better" * (row.direction == "lower")))
        )
        score = "n/a" if value is None else f"{value:.2f}"
        items = f"{row.count:,}" if row.count == row.total else f"{row.count:,} of {row.total:,}"
        line = [_heading(each), measure, score, _error(stderr, 2), items, each.asked]
        rows.append((*line, row.judge or "") if judged else tuple(line))
    heading = ["benchmark", "metric", "score", "standard error", "items", "asked"]
    return _table([*heading, "judge"] if judged else heading, rows)


def _notes(scored: Sequence[Scored]) -> list[str]:
    """What must be said of the numbers, as a list."""
    notes = [f"- {_heading(each)}: {each.row.reading_note}." for each in scored if each.row.reading_note]
    notes += [
        f"- {_heading(each)}: {each.row.truncated} prompts were longer than the model's context, and lost their "
        "beginning."
        for each in scored
        if each.row.truncated
    ]
    if any(each.data for each in scored):
        notes.append(
            "- Local data: the benchmark's data were read from a folder with the sha256 that begins so, which may hold "
            "other items than the published benchmark; compare such scores only with others on the same data."
        )
    return ["\n".join(dict.fromkeys(notes))] if notes else []


def _making(run: Run, scored: Sequence[Scored], made: Made) -> list[str]:
    packages = ", ".join(f"{name} {version}" for name, version in made.made["packages"].items() if version)
    beside = " `step.json` is its record, `labels.json` the whole label report." * (run.scored_epoch is None)
    return [
        f"Step `train/{made.key}` of {packages}, on Python {made.made['python']}.{beside} The same again:",
        f"```sh\n{shlex.join(['im-bench', 'run', *_words(run), *_asked_words(scored)])}\n```",
    ]


def _limits(run: Run, scored: Sequence[Scored], labels: Mapping[str, Any]) -> list[str]:
    limits = [
        "What it says may be false, biased or harmful; no one has examined it beyond the scores above.",
        "Standard errors are over items alone; it is one training with one seed, and another would differ too.",
    ]
    if run.model.source == "toy":
        limits.insert(0, "It knows a made-up world and nothing else: it is for demonstrations and tests.")
    if any((each.row.judge or "").split(" (")[0] == "overlap" for each in scored):
        limits.append(
            "Scores of judge `overlap` are word overlap with a reference; no language model has judged."
        )
    if labels["ends_outside"]:
        limits.append(f"{labels['ends_outside']:,} ends of turn were cut off or carry no loss.")
    return ["\n".join(f"- {limit}" for limit in limits)]


def _licence(run: Run) -> str:
    known = [f"`{each.name}`: {each.licence}" for each in _datasets(run.dataset) if each.licence]
    data = f" Of the data is known: {', '.join(known)}." if known else ""
    return f"None is stated: it follows from those of the base model and of the training data.{data}"


# --- words ---


def _asked_words(scored: Sequence[Scored]) -> list[str]:
    """The benchmarks and analyses that there are scores of."""
    rows = [each.row for each in scored]
    benchmarks = in_order(row.benchmark for row in rows if row.category != ANALYSIS)
    analyses = sorted({row.benchmark for row in rows if row.category == ANALYSIS})
    words = [f"benchmark=[{','.join(benchmarks)}]"] if rows else []
    return words + ([f"analysis=[{','.join(analyses)}]"] if analyses else [])


def _words(run: Run) -> list[str]:
    """The overrides that give the same training; what lies on somebody's machine is a word in capitals.

    Every loss is told from `it`, so that also one with a name of its own has all its dials.
    """
    loss = run.loss.model_dump(exclude={"name"}, exclude_defaults=True)
    train = run.train.model_dump()
    name = [] if run.loss.name == "it" else [f"loss.name={run.loss.name}"]
    return [
        *_model_words(run.model),
        *_dataset_words(run.dataset),
        f"subset={run.subset.name}",
        *(f"subset.{name}={_plain(value)}" for name, value in _choice(run.subset).items()),
        *("loss=it", *name),
        *(f"loss.{name}={_plain(value)}" for name, value in loss.items()),
        *(f"train.{name}={_plain(value)}" for name, value in train.items()),
        f"seed={run.seed}",
    ]


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


def _plain(value: object) -> str:
    """A value as Hydra reads it."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{name}: {_plain(each)}' for name, each in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_plain, value))}]"
    if isinstance(value, bool | None):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)


def _datasets(dataset: Dataset) -> list[Dataset]:
    """The dataset, or those of a mixture."""
    return [part.dataset for part in dataset.parts.values()] or [dataset]


def _origin(dataset: Dataset) -> str:
    match dataset.source:
        case "hub" if dataset.id:
            revision = f" at revision `{dataset.revision}`" if dataset.revision else ""
            which = f", config `{dataset.config}`" if dataset.config else ""
            return f"[{dataset.id}]({HUB}/datasets/{dataset.id}){which}, split `{dataset.split}`{revision}"
        case "address" if dataset.address:
            # Without a user's name, password or query, which are nobody's business.
            parts = urlsplit(dataset.address)
            return f"{parts.scheme}://{parts.hostname}{parts.path}"
        case "toy":
            return "im-bench's toy world"
        case _:
            return "a local file"


def _subset(subset: Subset) -> str:
    """Which conversations were chosen, as the beginning of a sentence."""
    if subset.name == "full":
        return "All were"
    values = ", ".join(f"{name} {_plain(value)}" for name, value in _choice(subset).items())
    return f"Subset `{subset.name}` ({values}) was"


def _choice(subset: Subset) -> dict[str, Any]:
    return subset.model_dump(exclude={"name"}, exclude_defaults=True)


def _heading(each: Scored) -> str:
    heading = benchmark_column(each.row.benchmark).heading
    return heading if each.data is None else f"{heading} (local data {each.data})"


def _measure(row: Row) -> str:
    """The metric with its filter or temperature, as people read it."""
    name, _, rest = row.metric.partition(",")
    return name if rest in ("", "none") else f"{name} ({rest})"


def _in_unit(row: Row) -> tuple[float | None, float | None, str]:
    """Value and error as people read them, and their unit: percent, or points from 1 to 10 for MT-Bench."""
    value, stderr = (
        None if number is None else round(number * to_percent(row), 4) for number in (row.value, row.stderr)
    )
    return value, stderr, "points" if row.benchmark == "mt_bench" else "percent"


def _error(stderr: float | None, places: int) -> str:
    return "" if stderr is None else f"{stderr:.{places}f}"


def _table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(text.replace('|', chr(92) + '|') for text in line)} |" for line in lines)
