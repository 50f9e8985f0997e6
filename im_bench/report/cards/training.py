"""The sections of a card that say on what, from what and how its checkpoint was trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from im_bench.config import Dataset, Loss, Model, Run, Subset
from im_bench.report.cards.command import choice, plain
from im_bench.report.cards.known import Made, datasets_of
from im_bench.report.cards.markdown import table

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


HUB = "https://huggingface.co"


def sections(run: Run, made: Made) -> list[tuple[str, list[str]]]:
    """Headings, the first of which is none, with their paragraphs."""
    return [
        ("", _what(run, made)),
        ("Loss", _loss(run.loss, made)),
        ("Base model", [_base(run.model, made.base)]),
        ("Training data", _data(run, made)),
        ("Training", _training(run, made)),
    ]


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
    dials = " ".join(f"{name}={plain(value)}" for name, value in made.identity["loss"].items())
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
        table(("part", "tokens", "carry loss"), parts),
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
        for each, source in zip(datasets_of(run.dataset), made.identity["dataset"], strict=True)
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
        table(("dataset", "from", "sha256 of its file", "fraction taken"), rows),
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
    shown = table(("", "value"), list(rows.items()))
    if run.scored_epoch is None:
        return [shown]
    return [shown, f"These are of all {train.epochs} epochs, over which the learning rate is scheduled."]


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
    values = ", ".join(f"{name} {plain(value)}" for name, value in choice(subset).items())
    return f"Subset `{subset.name}` ({values}) was"
