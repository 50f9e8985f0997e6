"""Which figures the rows of a sweep can make."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from im_bench.report.collect import UNKNOWN, Row
from im_bench.report.distributions import example_losses
from im_bench.report.figures.epochs import epochs_figure
from im_bench.report.figures.groups import models_figure, subsets_figure
from im_bench.report.figures.losses import loss_figure
from im_bench.report.figures.radar import radar_figure
from im_bench.report.figures.trends import trend_figure
from im_bench.report.points import ANALYSED, Point, last_epoch, points, quantities, radar_quantities
from im_bench.report.readings import Reading
from im_bench.report.trends import axes, trend_points

Figures = dict[str, Callable[[], Figure]]
Series = dict[str, tuple[str, list[Point]]]
OVER_EPOCHS = {"mean": "epochs", "win_rate": "epochs_win_rate", "length": "epochs_length"}
"""The measures that have a figure over epochs of their own: Figures 4, 10 and 11."""


def figures_of(rows: Sequence[Row], *, sweep: str, baseline: str, reading: Reading, store: Path) -> Figures:
    """By name, how to draw each figure that these rows of one sweep have enough for; none is drawn yet.

    Args:
        store: where the steps are whose details a figure shows; a figure whose details are gone is left out.
    """
    trained = [row for row in rows if row.dataset != UNKNOWN]
    found = {
        **_over_epochs(trained, reading),
        **_at_the_end(last_epoch(trained), reading),
        **_trend(rows, baseline, store),
        **_radar(last_epoch(rows)),
        **_losses(last_epoch(trained), store),
    }
    return {f"{sweep}_{name}": draw for name, draw in found.items()}


def _over_epochs(rows: Sequence[Row], reading: Reading) -> Figures:
    """Where a training was scored after several epochs."""
    if len({row.epoch for row in rows if row.epoch is not None}) < 2:
        return {}
    series = _series(rows, reading)
    found: Figures = {
        figure: partial(epochs_figure, _of(series, [name]))
        for name, figure in OVER_EPOCHS.items()
        if name in series
    }
    analysed = _of(series, ANALYSED)
    if analysed:
        found["overfitting"] = partial(epochs_figure, analysed)
    return found


def _at_the_end(rows: Sequence[Row], reading: Reading) -> Figures:
    """What several models, several datasets or subsets, or analyses show of the last epoch."""
    series = _series(rows, reading)
    scores, judged, analysed = (
        _of(series, ("mean", "win_rate")),
        _of(series, ("length", "win_rate")),
        _of(series, ANALYSED),
    )
    trained = [row for row in rows if row.dataset is not None]
    found: Figures = {}
    if scores and len({row.model for row in trained}) > 1:
        found["models"] = partial(models_figure, scores)
    if judged and len({(row.dataset, row.subset) for row in trained}) > 1:
        found["subsets"] = partial(subsets_figure, judged)
    if analysed and trained:
        found["analyses"] = partial(models_figure, analysed)
    return found


def _trend(rows: Sequence[Row], baseline: str, store: Path) -> Figures:
    found = trend_points(rows, baseline, store)
    across = axes(found)
    return {"trend": partial(trend_figure, found, across, baseline)} if across else {}


def _radar(rows: Sequence[Row]) -> Figures:
    series = {name: points(rows, quantity) for name, quantity in radar_quantities(rows).items()}
    trained = any(point.dataset is not None for own in series.values() for point in own)
    return {"radar": partial(radar_figure, series)} if trained else {}


def _losses(rows: Sequence[Row], store: Path) -> Figures:
    found = example_losses(rows, store)
    models, subsets = {model for model, _, _ in found}, {(dataset, subset) for _, dataset, subset in found}
    several = len({dataset for dataset, _ in subsets}) < len(subsets)
    named = {
        ", ".join(
            each
            for each in (dataset, subset if several else None, model if len(models) > 1 else None)
            if each
        ): own
        for (model, dataset, subset), own in found.items()
    }
    return {"losses": partial(loss_figure, named)} if named else {}


def _series(rows: Sequence[Row], reading: Reading) -> Series:
    return {
        name: (quantity.label, points(rows, quantity)) for name, quantity in quantities(rows, reading).items()
    }


def _of(series: Series, names: Iterable[str]) -> dict[str, list[Point]]:
    """Those of `names` that there are, by what their axis says."""
    return dict(series[name] for name in names if name in series)
