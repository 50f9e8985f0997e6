"""`im-bench stats` and `im-bench advise`: a dataset is read once, and what was found is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from im_bench import paper, places
from im_bench.config import Training, UserError
from im_bench.data.contamination import Index
from im_bench.data.conversations import BadRow, Conversation, scan_conversations
from im_bench.data.lengths import Lengths, Unit
from im_bench.data.sources import read_sources, scan_source
from im_bench.data.subsets import select
from im_bench.data.survey import Survey
from im_bench.evaluation.items import test_items
from im_bench.terminal import printable

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Told = Callable[[int], None]
BAR = 40
SHORT = {
    "knowledge": "Know.",
    "multilingual": "Multi.",
    "commonsense": "Comm.",
    "math_code": "Math",
    "bbh": "BBH",
    "safety": "Safety",
    "mean": "Mean",
}
MEANINGS = {
    "bad_rows": "rows that are no conversation",
    "duplicates": "conversations that stand there before",
    "empty_outputs": "conversations with an empty output",
    "cut_off_outputs": "outputs that may be cut off (30 words and more, ending in the middle of a sentence)",
    "roles_that_do_not_alternate": "conversations whose turns are not instruction and output in turn",
    "long_or_short_instructions": "instructions far longer or shorter than the rest",
    "long_or_short_outputs": "outputs far longer or shorter than the rest",
    "too_long": "conversations longer than train.max_tokens, {} tokens{}",
}


def survey_dataset(
    run: Training, unit: Unit, tokenizer: PreTrainedTokenizerFast | None, told: Told
) -> Survey:
    """What is found in the run's dataset and subset; a tokenizer is needed where either counts in tokens.

    Raises:
        UserError: when it cannot be read, or a row is no conversation and dataset.on_bad_row does not say skip.
    """
    survey = Survey(index=_index(run), tokenizer=tokenizer, unit=unit, max_tokens=run.train.max_tokens)
    survey.read(_conversations(run, tokenizer), told)
    return survey


def survey_file(run: Training, tokenizer: PreTrainedTokenizerFast | None, told: Told) -> Survey:
    """What is found in the run's dataset, a local file, whatever its rows are.

    Raises:
        UserError: when it cannot be read any further, or no row of it is a conversation.
    """
    assert run.dataset.path is not None
    path = Path(run.dataset.path)
    survey = Survey(index=_index(run), tokenizer=tokenizer, max_tokens=run.train.max_tokens)
    survey.read(scan_conversations(path, run.dataset.format, allow_empty_output=True), told)
    if not survey.rows:
        raise UserError(f"{path}: no row of it is a conversation; the first: {survey.bad_rows[0]}")
    if not any(survey.instruction):
        raise UserError(f"{path}: there is no instruction in it, so no ratio of instruction to output")
    return survey


def stats(survey: Survey, run: Training) -> dict[str, Any]:
    """The dataset's row of Table 5, and what may be wrong in it."""
    subset = {} if run.subset.name == "full" else {"subset": run.subset.label}
    characters = survey.character_ratio()
    return (
        survey.summary(run.dataset.name)
        | {"files": list(survey.names)}
        | subset
        | ({} if characters is None else {"instruction_over_output_in_characters": characters})
        | {"max_tokens": run.train.max_tokens, "max_tokens_estimated": survey.tokenizer is None}
        | {"findings": {name: found._asdict() for name, found in survey.findings().items()}}
        | {"contamination": survey.contamination()}
    )


def draw_lengths(survey: Survey, run: Training) -> Path:
    """Write the histograms of lengths; the picture's path."""
    # matplotlib takes a second to load, and whoever asks for advice need not wait for it.
    from im_bench.report.figures import write_figure
    from im_bench.report.figures.lengths import lengths_figure

    instruction_n, output_n = survey.lengths()
    subset = "" if run.subset.name == "full" else f"_{run.subset.label}"
    known = run.dataset.name if run.dataset.path is None else Path(run.dataset.path).stem
    folder, name = run.paths.results / "figures", f"lengths_{known}{subset}_{survey.unit}"
    title = f"{known}, {len(output_n):,} conversations"
    draw = partial(lengths_figure, instruction_n, output_n, title=title, unit=survey.unit)
    write_figure(folder, name, draw, suffixes=("png",))
    return folder / f"{name}.png"


def draw_outputs(surveys: Mapping[str, Survey], results: Path) -> Path:
    """Write how long the outputs of several datasets are, side by side (Figure 7 of the paper); the picture's path."""
    from im_bench.report.figures import write_figure
    from im_bench.report.figures.lengths import outputs_figure

    (unit,) = {survey.unit for survey in surveys.values()}
    lengths = {name: survey.lengths() for name, survey in surveys.items()}
    folder, name = results / "figures", f"outputs_{unit}"
    write_figure(folder, name, partial(outputs_figure, lengths, unit=unit))
    return folder / f"{name}.png"


def shown_stats(found: dict[str, Any], survey: Survey, picture: Path) -> RenderableType:
    """Statistics for a person: the row, the paper's beneath it where it has one, histograms and findings."""
    unit = survey.unit
    own = found["dataset"] if found["dataset"] != "local" else Path(found["files"][0]).name
    rows = [(printable(own), found)]
    printed = next((row for row in paper.lengths() if row["dataset"] == found["dataset"]), None)
    if printed and unit == "words" and "subset" not in found:
        rows.append(("Table 5", printed))
    instruction_n, output_n = survey.lengths()
    return Group(
        _length_table(rows, unit),
        Text(
            f"output: median {found[f'output_{unit}_median']:g}, mode {found[f'output_{unit}_mode']}; "
            f"instruction: median {found[f'instruction_{unit}_median']:g}, mode {found[f'instruction_{unit}_mode']}\n"
        ),
        *_unparted(found),
        _histogram("output", output_n, unit),
        _histogram("instruction", instruction_n, unit),
        _findings(found),
        Text(f"\n{picture}", style="bright_black"),
    )


def shown_advice(found: dict[str, Any]) -> RenderableType:
    """Advice for a person, what to do first."""
    advised = found["recommendation"]
    lengths = found["lengths"]
    by = "" if found["ratio_unit"] == "words" else " in characters"
    head = Text.assemble(
        (f"{printable(found['file'])}\n", "bold"),
        f"{lengths['examples']:,} conversations, instruction/output {found['ratio']:.3g}{by} (",
        f"{lengths['instruction_words_mean']:.1f} and {lengths['output_words_mean']:.1f} words on average)\n",
        f"{_among(found['among_the_paper_s'])}\n\n",
        (f"loss={advised['loss']}", "bold green"),
        ("  " if advised["sure"] else "  (leaning)  "),
        advised["reason"],
        "\n",
    )
    return Group(
        head,
        Text("Relative AlpacaEval 1.0 gain of IM over IT", style="bold"),
        _gain_table(found["gains"]),
        Text("\nIM minus IT on the nearest datasets of Table 1 (AlpacaEval 1.0: relative)", style="bold"),
        _nearest_table(found["nearest"]),
        _list("\nWhat would change the advice", found["what_would_change_it"]),
        _list("\nWith a grain of salt", found["caveats"]),
        _findings(found),
    )


def _index(run: Training) -> Index | None:
    """Of the test items that are at hand; None where none are."""
    items = test_items(places.hub(run), places.assets_folder(run))
    return Index(items) if items else None


def _conversations(
    run: Training, tokenizer: PreTrainedTokenizerFast | None
) -> Iterator[Conversation | BadRow]:
    sources = places.sources(run)
    if run.subset.name == "full" and all(source.spec.fraction == 1 for source in sources):
        yield from chain.from_iterable(map(scan_source, sources))
        return
    read = read_sources(sources, seed=run.seed)
    yield from read.skipped
    yield from select(read.conversations, run.subset, seed=run.seed, tokenizer=tokenizer)


def _unparted(found: dict[str, Any]) -> Iterator[Text]:
    ratio = found.get("instruction_over_output_in_characters")
    if ratio is not None:
        yield Text(
            f"White space does not part the words of this language: I/O is {ratio:.4f} in characters; --unit tokens "
            "counts a model's tokens.\n"
        )


def _length_table(rows: Sequence[tuple[str, dict[str, Any]]], unit: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    columns = {
        "examples": "examples",
        f"total_{unit}_mean": "total",
        f"output_{unit}_mean": "output",
        f"output_{unit}_std": "std",
        f"instruction_{unit}_mean": "instr.",
        f"instruction_{unit}_std": "std",
        "output_over_instruction": "O/I",
        "instruction_over_output": "I/O",
    }
    table.add_column(unit, overflow="fold")
    for heading in columns.values():
        table.add_column(heading, justify="right", no_wrap=True)
    for name, row in rows:
        cells = [_cell(row[column], "over" in column) for column in columns]
        table.add_row(name, *cells)
    return table


def _cell(value: Any, ratio: bool) -> str:
    if isinstance(value, float):
        return f"{value:.4f}" if ratio else f"{value:.2f}"
    return "n/a" if value is None else f"{value}"


def _histogram(name: str, lengths_n: Lengths, unit: str) -> Text:
    """One bar for each doubling of the length."""
    powers_n = np.log2(lengths_n.clip(min=1)).astype(int)
    counts = np.bincount(powers_n)
    text = Text.assemble((f"{name}, {unit}\n", "bold"))
    for power, count in enumerate(counts.tolist()):
        reach = f"{2**power}-{2 ** (power + 1) - 1}" if power else "0-1"
        bar = "█" * round(BAR * count / counts.max())
        text.append(f"{reach:>13}  {bar:<{BAR}} {count:>9,}\n")
    return text


def _findings(found: dict[str, Any]) -> Text:
    text = Text.assemble(("\nFound in the file\n", "bold"))
    some = {name: finding for name, finding in found["findings"].items() if finding["found"]}
    for name, finding in some.items():
        shown = (
            f"rows {', '.join(finding['rows'])}" if name != "bad_rows" else "\n".join(["", *finding["rows"]])
        )
        more = ", ..." if finding["found"] > len(finding["rows"]) else ""
        text.append(printable(f"  {finding['found']:>9,}  {_meaning(name, found)}: {shown}{more}\n"))
    if not some:
        text.append("  nothing that looks wrong\n")
    return text.append(_contaminated(found["contamination"]))


def _meaning(name: str, found: dict[str, Any]) -> str:
    guessed = ", taken as 4 bytes each" if found["max_tokens_estimated"] else ""
    return MEANINGS[name].format(found["max_tokens"], guessed)


def _contaminated(found: dict[str, dict[str, Any]] | None) -> Text:
    if found is None:
        return Text(
            "  not looked for: test items of benchmarks, for want of paths.hub=FOLDER and paths.assets=FOLDER\n"
        )
    hit = {name: entry for name, entry in found.items() if entry["found"]}
    looked = sum(entry["texts"] for entry in found.values())
    text = Text(f"  of {looked:,} texts of test items in {len(found)} benchmarks, found: ")
    if not hit:
        return text.append("none\n")
    said = [
        f"{entry['found']} of {name} (rows {', '.join(dict.fromkeys(entry['rows']))})"
        for name, entry in hit.items()
    ]
    return text.append("; ".join(said) + "\n")


def _among(places: dict[str, Any]) -> str:
    ratio, size = _between(places["instruction_over_output"]), _between(places["examples"])
    return f"Among the paper's 16 datasets the ratio lies {ratio}, the size {size}."


def _between(place: dict[str, Any]) -> str:
    if place["next_below"] is None:
        return f"below all (the lowest is {place['next_above']})"
    if place["next_above"] is None:
        return f"above all (the highest is {place['next_below']})"
    return f"between {place['next_below']} and {place['next_above']}"


def _gain_table(gains: Sequence[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("by", overflow="fold")
    table.add_column("expected", justify="right", no_wrap=True)
    table.add_column("95 % of new points", justify="right", no_wrap=True)
    for gain in gains:
        beyond = "; beyond its points" if gain["extrapolated"] else ""
        table.add_row(
            f"{gain['note']}{beyond}",
            f"{gain['expected_percent']:+.0f} %",
            f"{gain['low_percent']:+.0f} to {gain['high_percent']:+.0f} %",
        )
    return table


def _nearest_table(nearest: Sequence[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("dataset", overflow="fold")
    for heading in ("ratio", *SHORT.values(), "AE 1.0"):
        table.add_column(heading, justify="right", no_wrap=True)
    for each in nearest:
        # A narrow terminal has no room for who made it.
        name = each["dataset"].removeprefix("alpagasus_").removeprefix("less_")
        name += " (suspect)" if each["suspect"] else ""
        changes = [f"{each['im_minus_it'][category]:+.1f}" for category in SHORT]
        gain = f"{each['alpaca_eval_1_gain_percent']:+.0f} %"
        table.add_row(name, f"{each['instruction_over_output']:.2g}", *changes, gain)
    return table


def _list(title: str, lines: Sequence[str]) -> Text:
    text = Text.assemble((f"{title}\n", "bold"))
    for line in lines:
        text.append(f"  - {line}\n")
    return text
