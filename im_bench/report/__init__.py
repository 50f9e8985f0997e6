"""From the ledger to what people read: tables and figures."""

from __future__ import annotations

from pathlib import Path

from im_bench import config
from im_bench.report.collect import FILE, read_ledger
from im_bench.report.formats import write_table
from im_bench.report.tables import Table, benchmark_table, category_table
from im_bench.report.trends import axes, trend_points


def report(results: Path, sweep: str, report: config.Report) -> Table:
    """Write the tables and figures of one sweep below `results`; the table that answers its question.

    Raises:
        UserError: when the ledger has no row of the sweep, cannot be read, or mixes judges in a column.
    """
    ledger = results / FILE
    rows = [row for row in read_ledger(ledger) if row.sweep == sweep]
    if not rows:
        raise config.UserError(
            f"{sweep}: {ledger} has no score of this sweep; im-bench sweep, with the same words, makes them"
        )
    table = category_table(rows, name=sweep, baseline=report.baseline, reading=report.reading)
    each = benchmark_table(rows, name=sweep, baseline=report.baseline, reading=report.reading)
    # matplotlib takes a second to load, and who reads a table need not wait for it.
    from im_bench.report.figures import write_figure
    from im_bench.report.figures.differences import difference_figure
    from im_bench.report.figures.trends import trend_figure

    write_table(results / "tables", sweep, table)
    write_table(results / "tables", f"{sweep}_benchmarks", each, formats=("md", "csv"))
    write_figure(results / "figures", sweep, lambda: difference_figure(table))
    points = trend_points(rows, report.baseline)
    if across := axes(points):
        write_figure(
            results / "figures", f"{sweep}_trend", lambda: trend_figure(points, across, report.baseline)
        )
    return table
