"""A plan for a person."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from im_bench.config import UNNAMED
from im_bench.planning import Plan
from im_bench.planning.forecast import Hours, Peak, Share, Verdicts
from im_bench.planning.tokens import TURN, WORD
from im_bench.terminal import printable

UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def shown(plan: Plan, head: str) -> RenderableType:
    """Steps by kind, and below them what those to do will take, one line for each thing.

    Args:
        head: which cells are meant.
    """
    head = printable(head)
    if not plan.todo:
        return Group(Text(f"{head}; every step is done", style="bold green"))
    lines = [*_absent(plan), *_tokens(plan.tokens), *_hours(plan), *_disk(plan), *_judges(plan.judges)]
    return Group(Text(head, style="bold"), _steps(plan), *(Text(printable(line)) for line in lines))


def number(value: float) -> str:
    """Three digits and a unit, e.g. 1.23M."""
    for size, unit in UNITS:
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def _steps(plan: Plan) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("steps")
    for column in ("done", "to do"):
        table.add_column(column, justify="right")
    for kind, tally in plan.steps.items():
        table.add_row(kind, f"{tally.done:,}", f"{tally.todo:,}")
    done = sum(tally.done for tally in plan.steps.values())
    table.add_row("in all", f"{done:,}", f"{plan.todo:,}", style="bold")
    return table


def _absent(plan: Plan) -> Iterator[str]:
    if plan.absent:
        yield "\nnot at hand, so that steps made of it count as to do; im-bench fetch gets what can be fetched"
    for name, steps in plan.absent.items():
        yield f"  {name}: {steps:,} step{'s' * (steps != 1)}"


def _tokens(shares: list[Share]) -> Iterator[str]:
    known = [share.tokens for share in shares if share.tokens is not None]
    if shares:
        whole = _known(number(sum(known)), len(known), len(shares) - len(known), "dataset")
        yield f"\ntokens to train on: {whole} (by words: {WORD:g} for each, and {TURN} for a turn)"
    for share in shares:
        said = "unknown" if share.tokens is None else f"{number(share.tokens)} by {share.origin}"
        yield f"  {share.name}, {share.trainings} training{'s' * (share.trainings != 1)}: {said}"


def _hours(plan: Plan) -> Iterator[str]:
    for device in dict.fromkeys(device for _, device in plan.hours):
        parts = {part: hours for (part, each), hours in plan.hours.items() if each == device}
        unit = "minutes" if 0 < sum(hours.known for hours in parts.values()) < 1 else "hours"
        yield f"\n{device}-{unit}: {_time(unit, *parts.values())}"
        for part, hours in parts.items():
            yield f"  {part}: {_time(unit, hours)}{_origins(hours)}"


def _time(unit: str, *parts: Hours) -> str:
    hours, unknown = sum(each.known for each in parts), sum(each.unknown for each in parts)
    steps = sum(sum(each.origins.values()) for each in parts)
    return _known(_short(hours * 60 if unit == "minutes" else hours), steps, unknown, "step")


def _short(time: float) -> str:
    if 0 < time < 0.1:
        return "under 0.1"
    return f"{time:,.0f}" if time >= 10 else f"{time:.2g}"


def _origins(hours: Hours) -> str:
    kind = (
        "measured" if not hours.estimated else "estimated" if not hours.measured else "measured and estimated"
    )
    return f", {kind} from {'; '.join(hours.origins)}" if hours.origins else ""


def _disk(plan: Plan) -> Iterator[str]:
    peak = plan.disk
    if peak.jobs or peak.unknown:
        room = _known(f"{number(peak.bytes)}B more than now", peak.jobs, peak.unknown, "training")
        yield f"\ndisk at its peak: {room}; keep_checkpoints={plan.keep}, {_at_a_time(peak)}"


def _at_a_time(peak: Peak) -> str:
    more = f"; each more has {number(peak.each_more)}B" if peak.each_more else ""
    return f"{max(1, peak.jobs)} training{'s' * (peak.jobs > 1)} at a time{more}"


def _judges(judges: dict[str, Verdicts]) -> Iterator[str]:
    for judge, said in judges.items():
        unnamed = " (judge.model is still to be given)" if judge.startswith(UNNAMED) else ""
        dollars = "no judge.price" if said.dollars is None else f"{said.dollars:,.2f} USD"
        yield (
            f"\njudge {judge}{unnamed}: {said.calls:,} calls, about {number(said.prompt_tokens)} tokens of prompts and "
            f"{number(said.answer_tokens)} of replies; {dollars}"
        )


def _known(said: str, known: int, unknown: int, what: str) -> str:
    """What is known of some things, and of how many nothing is."""
    these = f"{unknown:,} {what}{'s' * (unknown != 1)}"
    if not unknown:
        return said
    return f"{said}, and unknown for {these}" if known else f"unknown for {these}"
