"""Files of results that lm-eval wrote, of any version, as scores of the benchmarks here.

Up to 0.3 a task's metric is `acc`, since 0.4 `acc,none` with its filter; 0.4.2 added how many items were asked.
A task counts under its name of today where it is the same task; a task that is another one is left out, and told.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, isfinite
from pathlib import Path
from typing import Any

from im_bench.config import UserError
from im_bench.evaluation.benchmarks import BENCHMARKS, Entry, group_score
from im_bench.evaluation.costs import COSTS
from im_bench.scores import Score

SUBJECTS = (
    "abstract_algebra anatomy astronomy business_ethics clinical_knowledge college_biology college_chemistry "
    "college_computer_science college_mathematics college_medicine college_physics computer_security "
    "conceptual_physics econometrics electrical_engineering elementary_mathematics formal_logic global_facts "
    "high_school_biology high_school_chemistry high_school_computer_science high_school_european_history "
    "high_school_geography high_school_government_and_politics high_school_macroeconomics high_school_mathematics "
    "high_school_microeconomics high_school_physics high_school_psychology high_school_statistics "
    "high_school_us_history high_school_world_history human_aging human_sexuality international_law jurisprudence "
    "logical_fallacies machine_learning management marketing medical_genetics miscellaneous moral_disputes "
    "moral_scenarios nutrition philosophy prehistory professional_accounting professional_law "
    "professional_medicine professional_psychology public_relations security_studies sociology us_foreign_policy "
    "virology world_religions"
).split()
"""Of MMLU, as its repository and lm-eval name them."""
PUZZLES = (
    "boolean_expressions date_understanding disambiguation_qa dyck_languages formal_fallacies geometric_shapes "
    "hyperbaton logical_deduction_five_objects logical_deduction_seven_objects logical_deduction_three_objects "
    "movie_recommendation multistep_arithmetic_two navigate object_counting reasoning_about_colored_objects "
    "ruin_names salient_translation_error_detection sports_understanding temporal_sequences "
    "tracking_shuffled_objects_five_objects tracking_shuffled_objects_seven_objects "
    "tracking_shuffled_objects_three_objects web_of_lies word_sorting penguins_in_a_table snarks causal_judgement"
).split()
"""Of BBH, in the order of their numbers of items, as `COSTS` has them."""
GROUPS = {
    "mmlu": tuple(f"mmlu_{subject}" for subject in SUBJECTS),
    "bbh_cot_fewshot": tuple(f"bbh_cot_fewshot_{puzzle}" for puzzle in PUZZLES),
}
"""lm-eval's groups in the registry, by their leaf tasks."""

OLD_MMLU = "hendrycksTest-"
"""How the subjects of MMLU began up to 0.3; version 0 scored the texts of choices, not their letters."""
OLD_TRUTHFULQA = "truthfulqa_mc"
"""Of which `mc2` has a task of its own since."""
UNLIKE = {
    "gsm8k": "gsm8k_cot shows other examples",
    "humaneval": "im-bench draws its programs, and runs them, itself",
    "lambada": "does not say whether it is lambada_openai or lambada_standard",
    "truthfulqa_mc1": "truthfulqa_mc2 counts something else",
}
"""Tasks that might be taken for one of the benchmarks' and are another, and why."""
NO_COUNTS = "the file does not say how many items were asked; their number is that of the official data"
NAMING = ("peft", "delta", "pretrained", "model", "path", "engine")
"""What of `model_args` names the model, the first that is there, as lm-eval itself does it."""

PARTS = ("results", "versions", "config", "n-samples", "n-shot", "groups", "group_subtasks")
"""What is read of a file, each by task or by key; of old files some are not there."""
Parts = Mapping[str, Mapping[str, Any]]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Results:
    """What a file says of one model."""

    model: str
    file: Path
    scores: list[Score]


def results_file(path: Path) -> Path:
    """The file itself, or in a folder that lm-eval or a step here wrote the newest one."""
    if not path.is_dir():
        return path
    # Their names have the time in a form that sorts.
    found = sorted(path.glob("results_*.json")) or sorted(path.glob("results.json"))
    if len(found) > 1:
        log.warning("%s: %s is the newest of %d files, and is taken alone", path, found[-1].name, len(found))
    return found[-1] if found else path


def read_object(file: Path) -> dict[str, Any] | None:
    """The one object that a .json file holds; None where it holds rows, or its name is another.

    Raises:
        UserError: when it is one object and cannot be read to its end.
    """
    if file.suffix.lower() != ".json" or not _begins_an_object(file):
        return None
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError:
        raise UserError(f"{file}: not UTF-8; save the file as UTF-8") from None
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":  # one object a line
            return None
        place = f"line {error.lineno}, column {error.colno}"
        raise UserError(f"{file}: not JSON ({error.msg} at {place}); it may be cut off") from None
    except RecursionError:
        raise UserError(f"{file}: nested too deeply") from None
    return content if isinstance(content, dict) else None


def _begins_an_object(file: Path) -> bool:
    """So that a list, which may be large, is not read whole."""
    if not file.is_file():
        return False
    with file.open("rb") as opened:
        return opened.read(1024).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{")


def read_results(file: Path, content: Mapping[str, Any]) -> Results:
    """The benchmarks of which a file of lm-eval's has scores, and their tasks where they have several.

    A benchmark that lacks some of its tasks has no headline score; their rows stand alone, and what is missing is
    told. Items are those asked, by the file itself; where it does not say, those of the official data up to its
    `limit`, and the note says so. A score's version is the file's own of the task; of a file up to 0.3, whose numbers
    mean other versions than those since, it says so.

    Raises:
        UserError: naming the key that is not as lm-eval writes it; or when no task is one of the benchmarks'.
    """
    parts = {key: _object(content.get(key), f"{file}: {key}") for key in PARTS}
    leaves = _leaves(file, parts)
    scores: list[Score] = []
    for name, entry in BENCHMARKS.items():
        wanted = leaf_tasks(entry)
        found = [leaves[task] for task in wanted if task in leaves]
        if found and len(found) == len(wanted):
            scores.append(_headline(name, entry, found))
        elif found:
            lacking = ", ".join(task for task in wanted if task not in leaves)
            log.warning("%s: no score of %s, as it lacks %s", file, name, lacking)
        scores += found if len(wanted) > 1 else []
    return Results(_model(file, content.get("model_name"), parts["config"]), file, scores)


def leaf_tasks(entry: Entry) -> tuple[str, ...]:
    """lm-eval's tasks of a benchmark, those of groups one by one."""
    return tuple(leaf for task in entry.tasks for leaf in GROUPS.get(task, (task,)))


OFFICIAL = {
    task: items
    for name, entry in BENCHMARKS.items()
    if entry.tasks
    for task, items in zip(leaf_tasks(entry), COSTS[name].items, strict=True)
}
"""How many items each task has."""
BENCHMARK_OF = {task: name for name, entry in BENCHMARKS.items() for task in leaf_tasks(entry)}


def _model(file: Path, named: Any, config: Mapping[str, Any]) -> str:
    said = config.get("model_args") or {}
    if isinstance(said, str):
        pairs = (part.partition("=") for part in said.split(","))
        said = {key.strip(): value for key, _, value in pairs}
    said = _object(said, f"{file}: config.model_args")
    named = named or next((said[key] for key in NAMING if said.get(key)), None)
    if not isinstance(named, str):
        raise UserError(f'{file}: names no model; add "model_name" to it')
    return named


def _leaves(file: Path, parts: Parts) -> dict[str, Score]:
    """The scores of the benchmarks' leaf tasks, by their names of today; what else is there is told."""
    found: dict[str, Score] = {}
    left_out: dict[str, str] = {}
    for task in parts["results"]:
        leaf, metric, why = _today(task, parts["versions"].get(task))
        if leaf in BENCHMARK_OF and not why:
            score = _leaf(file, parts, task, leaf, metric)
            if score is not None:
                found[leaf] = score
                continue
            why = f"has no {BENCHMARKS[BENCHMARK_OF[leaf]].metric}"
        if not _is_group(task, parts):
            left_out[task] = why
    said = ", ".join(f"{task} ({why})" if why else task for task, why in left_out.items())
    if not found:
        raise UserError(f"{file}: results has no task of the benchmarks{f', but {said}' if said else ''}")
    if left_out:
        log.warning("%s: left out, as no task of the benchmarks: %s", file, said)
    return found


def _is_group(task: str, parts: Parts) -> bool:
    """Whether a row is a mean of others; in some versions a task of its own is a group without members."""
    return task in parts["groups"] or bool(parts["group_subtasks"].get(task))


def _today(task: str, version: Any) -> tuple[str, str | None, str]:
    """A task's name of today, its metric's if that had another too, and why it is none of the benchmarks'."""
    if task.startswith(OLD_MMLU):
        why = "the letters of choices are scored since its version 1" if version in (None, 0) else ""
        return f"mmlu_{task.removeprefix(OLD_MMLU)}", None, why
    if task == OLD_TRUTHFULQA:
        return "truthfulqa_mc2", "mc2", ""
    return task, None, UNLIKE.get(task, "")


def _leaf(file: Path, parts: Parts, task: str, leaf: str, old_metric: str | None) -> Score | None:
    """The score of a leaf task; None where the file has another metric of it."""
    name = BENCHMARK_OF[leaf]
    entry = BENCHMARKS[name]
    where = f"{file}: results.{task}"
    table = _object(parts["results"][task], where)
    metric, _, filter_ = entry.metric.partition(",")
    old = old_metric or metric
    is_old = entry.metric not in table and filter_ == "none" and old in table
    key, error_key = (old, f"{old}_stderr") if is_old else (entry.metric, f"{metric}_stderr,{filter_}")
    if key not in table:
        return None
    error = table.get(error_key)
    count, note = _count(file, parts, task, leaf)
    version = parts["versions"].get(task)
    version = None if version in (None, "N/A") else str(version)
    return Score(
        benchmark=name,
        category=entry.category,
        task=leaf,
        metric=entry.metric,
        value=_number(table[key], f"{where}.{key}", most=None if metric == "ter" else 1.0),
        stderr=None if error in (None, "N/A") else _number(error, f"{where}.{error_key}"),
        count=count,
        total=count,
        direction=entry.direction,
        reading_note="; ".join([*_shots(parts, task), *note]) or None,
        version=f"{version} of lm-eval 0.3" if is_old and version else version,
    )


def _headline(name: str, entry: Entry, leaves: Sequence[Score]) -> Score:
    notes = dict.fromkeys(leaf.reading_note for leaf in leaves if leaf.reading_note)
    return replace(group_score(name, entry, leaves), reading_note="; ".join(notes) or None)


def _count(file: Path, parts: Parts, task: str, leaf: str) -> tuple[int, list[str]]:
    """Items that were asked, and what must be said of their number."""
    where = f"{file}: n-samples.{task}"
    said = _object(parts["n-samples"].get(task), where)
    if said:
        return _whole(said.get("effective"), f"{where}.effective"), []
    limit = parts["config"].get("limit")
    if isinstance(limit, float) and 0 < limit < 1:  # a share of the items
        return ceil(OFFICIAL[leaf] * limit), [NO_COUNTS]
    most = OFFICIAL[leaf] if limit is None else _whole(limit, f"{file}: config.limit")
    return min(OFFICIAL[leaf], most), [NO_COUNTS]


def _shots(parts: Parts, task: str) -> list[str]:
    """Scores with other numbers of examples are other scores, so it stands in the note."""
    shots = parts["n-shot"].get(task, parts["config"].get("num_fewshot"))
    return [f"{shots} shots"] if isinstance(shots, int) else []


def _object(value: Any, where: str) -> dict[str, Any]:
    """Without keys where there is none."""
    if value is not None and not isinstance(value, dict):
        raise UserError(f"{where} is {type(value).__name__}, where lm-eval writes an object")
    return value or {}


def _number(value: Any, where: str, most: float | None = None) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not isfinite(value):
        raise UserError(f"{where} is {value!r}, not a number; run the task again, or take it out of the file")
    if value < 0 or (most is not None and value > most):
        raise UserError(f"{where} is {value!r}, {'below 0' if value < 0 else f'above {most:g}'}")
    return float(value)


def _whole(value: Any, where: str) -> int:
    number = _number(value, where)
    if number < 1 or number != int(number):
        raise UserError(f"{where} is {value!r}, not a number of items")
    return int(number)
