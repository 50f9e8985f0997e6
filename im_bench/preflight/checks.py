"""What a sweep is refused for before anything runs: all of it at once."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache, partial

from im_bench import config as c
from im_bench import places
from im_bench.config import UserError
from im_bench.data.conversations import Conversation
from im_bench.data.published import at_hand
from im_bench.data.sources import Source, read_sources
from im_bench.data.subsets import select
from im_bench.judging import open_judge
from im_bench.pipeline import HELDOUT, Cell, with_heldout
from im_bench.preflight.machine import no_gpu, too_little_memory, too_little_room
from im_bench.preflight.need import Need, Parts, datasets_of, explained, model_name, needs
from im_bench.stages import tokenizer

log = logging.getLogger(__name__)


def check(cells: Sequence[Cell], todo: Collection[str]) -> None:
    """Get what is missing and can be had, and refuse now what would else be found after hours of training.

    Args:
        cells: planned with or without what they need at hand.
        todo: keys of their steps that are not done.

    Raises:
        UserError: with everything that is missing or wrong.
    """
    wanted = [(cell.run, Parts.left(cell, todo)) for cell in cells]
    found = needs(wanted)
    here = [*no_gpu(wanted), *too_little_memory(wanted), *too_little_room(cells)]
    # Gigabytes are not fetched for a sweep that is refused; where nothing can be, that takes no time to see.
    fetches = not (here or any(need.problem and not need.get for need in found)) or _is_offline()
    lacking = [need for need in explained(map(_fetched, found) if fetches else found) if need.problem]
    problems = [*(need.sentence for need in lacking), *_refusals(cells, wanted, lacking), *here]
    problems = list(dict.fromkeys(problems or _refusals_of_toys(wanted)))
    if len(problems) == 1:
        raise UserError(problems[0])
    if problems:
        raise UserError("\n  ".join([f"{len(problems)} things to mend before anything runs:", *problems]))


def _is_offline() -> bool:
    return bool(os.environ.get("HF_HUB_OFFLINE"))


def _fetched(need: Need) -> Need:
    """At hand if it can be had; else with the reason why it cannot."""
    if need.get is None:
        return need
    log.info("fetching %s %s", need.kind, need.name)
    try:
        need.get()
    except (UserError, OSError) as error:
        # What can be done without has no problem, and gets none.
        return replace(need, problem=f"{need.problem}; {error}") if need.problem else need
    return replace(need, problem=None)


def _refusals(
    cells: Sequence[Cell], wanted: Sequence[tuple[c.Run, Parts]], lacking: Collection[Need]
) -> Iterator[str]:
    """What each part of the work would refuse; of what is missing, that has been said."""
    models = {need.name for need in lacking if need.kind == "model"}
    checks: list[Callable[[], object]] = [partial(_check_served, cells, wanted)]
    chosen: set[tuple[object, ...]] = set()
    for run, parts in wanted:
        has_model = model_name(run.model) not in models
        if parts.loads and has_model:
            checks += [partial(_check_template, run, parts)]
        in_tokens = run.subset.unit == "tokens"
        if parts.trains and _data_at_hand(run) and not _is_toy(run) and (has_model or not in_tokens):
            checks += [partial(_check_dataset, run, chosen)]
        held_out = _heldout(run, parts)
        if held_out and _data_at_hand(held_out) and not _is_toy(held_out):
            checks += [partial(_check_dataset, held_out, chosen, HELDOUT)]
        if parts.judges and not any(need.kind in ("key", "server", "file") for need in lacking):
            checks += [partial(open_judge, run.judge, run.paths.results)]
    yield from _raised(checks)


def _refusals_of_toys(wanted: Sequence[tuple[c.Run, Parts]]) -> Iterator[str]:
    """Of datasets of the toy world, which is made to be read: so when all else is well."""
    chosen: set[tuple[object, ...]] = set()
    toys = [run for run, parts in wanted if parts.trains and _is_toy(run)]
    yield from _raised([partial(_check_dataset, run, chosen) for run in toys])


def _heldout(run: c.Run, parts: Parts) -> c.Run | None:
    return with_heldout(run, run.analysis.losses) if "losses" in parts.measures else None


def _raised(checks: Sequence[Callable[[], object]]) -> Iterator[str]:
    for each in checks:
        try:
            each()
        except UserError as error:
            yield str(error)
    _conversations.cache_clear()


def _is_toy(run: c.Run) -> bool:
    """Whether the choice of conversations takes the toy world."""
    by_tokens = run.subset.unit == "tokens" and run.model.source == "toy"
    return by_tokens or any(dataset.source == "toy" for _, dataset in datasets_of(run))


def _data_at_hand(run: c.Run) -> bool:
    return all(
        dataset.source == "toy" or at_hand(dataset, run.paths.datasets, run.paths.cache)
        for _, dataset in datasets_of(run)
    )


def _check_served(cells: Sequence[Cell], wanted: Sequence[tuple[c.Run, Parts]]) -> None:
    """One served name cannot be several checkpoints, nor one that is not there yet."""
    named = [
        (cell, parts)
        for cell, (run, parts) in zip(cells, wanted, strict=True)
        if parts.opens and isinstance(run.engine, c.Server) and run.engine.model
    ]
    if len({cell.checkpoint.key for cell, _ in named}) > 1:
        raise UserError(
            "engine.model: one served model cannot be all checkpoints of a sweep; leave it null, and serve each "
            "under its own path"
        )
    if any(parts.trains for _, parts in named):
        raise UserError(
            "engine.model: what is served was there before this checkpoint is trained; leave it null, and after "
            "the training serve the checkpoint under its own path"
        )


def _check_template(run: c.Run, parts: Parts) -> None:
    """A tokenizer may lack a chat template where nobody asks in one."""
    asking = [name for name in run.benchmark if name in parts.asks and _in_template(run.benchmark[name])]
    users = [*(["training"] if parts.trains else []), *asking, *sorted(parts.measures)]
    if run.model.chat_template == "own" and run.model.source != "toy" and users:
        try:
            tokenizer(run)
        except UserError as error:
            raise UserError(f"{error} (needed by {', '.join(users)})") from None


def _in_template(spec: c.Benchmark) -> bool:
    return not isinstance(spec, c.HumanEval) and getattr(spec, "prompt", "chat") == "chat"


def _check_dataset(run: c.Run, chosen: set[tuple[object, ...]], key: str = "dataset") -> None:
    """Read and choose as the training will; a choice that another cell has made is not made again."""
    found, in_tokens = places.sources(run, key=key), run.subset.unit == "tokens"
    this = (found, run.subset, run.seed, run.model if in_tokens else None)
    if this not in chosen:
        chosen.add(this)
        counter = tokenizer(run) if in_tokens else None
        select(_conversations(found, run.seed), run.subset, seed=run.seed, tokenizer=counter)


@lru_cache(maxsize=1)
def _conversations(found: tuple[Source, ...], seed: int) -> list[Conversation]:
    return read_sources(found, seed=seed).conversations
