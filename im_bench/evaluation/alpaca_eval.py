"""AlpacaEval 1.0 and 2.0 by the alpaca_eval package: its prompts, annotators, parsers and win rates.

The only module that imports alpaca_eval, and only inside functions, for the import takes seconds. What the
package would take from the environment, the hub or its own folder is given to it, and it writes nothing.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import fmean
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

from im_bench.config import UserError
from im_bench.counting import Follow, Tally, nobody
from im_bench.data.rows import read_rows, write_rows
from im_bench.evaluation.answers import check_one_to_each
from im_bench.evaluation.completions import Completions
from im_bench.evaluation.quiet import quiet
from im_bench.items import write_items
from im_bench.judging.judge import Bill, Comparison, Judge, tell_mute
from im_bench.scores import Score, billed, write_scores

if TYPE_CHECKING:
    from im_bench.evaluation.engine import Engine

ANSWERS = "model_outputs.json"
ITEM = "instruction"
ANNOTATIONS = "annotations.json"
ANNOTATOR = "annotator"
"""A folder: the package's config of the judge, and the prompt."""
CHUNK = 128
"""Instructions answered between two saves."""
NO_OUTPUTS = "length control needs the outputs, which these annotations do not have"
NOT_OFFICIAL = "length control is of the official instructions, and these annotations have others"
NO_FIT = "length control cannot be fitted to so few annotations, or to annotations that are all alike"
TALKERS = ("alpaca_eval", "sklearn", "patsy", "pandas")
NO_LENGTH_CONTROL = "length control needs df_gamed.csv of the AlpacaEval data set, which is not at hand"


class Annotator(NamedTuple):
    """One of the package's annotator configs, and what its prompt calls the two outputs."""

    config: str
    labels: tuple[str, str]
    usual_tokens: int
    """Of a reply."""


RANKING = Annotator("alpaca_eval_gpt4", ("model_1", "model_2"), usual_tokens=36)
WEIGHTED = Annotator("weighted_alpaca_eval_gpt4_turbo", ("m", "M"), usual_tokens=1)


class Ways(NamedTuple):
    """How two outputs are compared, where there is a choice."""

    ranking: bool = False
    """By the ranking prompt of 1.0 in 2.0 too."""
    both_orders: bool = False
    """Shown in both orders, the preference being the mean; else once, in an order drawn by the package."""


PLAIN = Ways()


def answer(
    out: Path,
    engine: Engine,
    *,
    instructions: Path,
    max_new_tokens: int,
    limit: int | None,
    seed: int,
    model_id: str,
    follow: Follow = nobody,
) -> None:
    """Answer the first `limit` instructions into `out`, greedily; a saved chunk is not answered again."""
    asked = read_rows(instructions, ("instruction",))[:limit]
    chunks = {
        out / f"answers-{start:04d}.json": asked[start : start + CHUNK]
        for start in range(0, len(asked), CHUNK)
    }
    tally = Tally(len(asked), follow)
    for saved, chunk in chunks.items():
        if saved.exists():
            tally.more(len(chunk))
        else:
            prompts = [engine.chat_prompt([{"role": "user", "content": row["instruction"]}]) for row in chunk]
            texts = engine.generate(
                prompts, max_new_tokens=max_new_tokens, temperature=0.0, seed=seed, done=tally.more
            )
            cut = [engine.num_cut(prompt, max_new_tokens) for prompt in prompts]
            found = zip(chunk, texts, cut, strict=True)
            write_rows(saved, [_answer(row, text, lost, model_id) for row, text, lost in found])
    write_rows(out / ANSWERS, [row for saved in chunks for row in read_rows(saved)])
    for saved in chunks:
        saved.unlink()


def judge(
    out: Path,
    answers: Path,
    judge: Judge,
    *,
    version: int,
    references: Path,
    gold: Path,
    seed: int,
    ways: Ways = PLAIN,
    length_control: bool = False,
    gamed: Path | None = None,
    limit: int | None = None,
) -> None:
    """Have the answers in the folder `answers` compared with those in the file `references`, into `out`.

    Args:
        version: of AlpacaEval, 1 or 2; `references` are the outputs of its model to beat.
        gold: outputs that a judge without language holds answers against: those of AlpacaEval 2.0, in the official
            order of the instructions.
        seed: of the order in which the judge sees the two outputs.
        length_control: whether the length-controlled win rate is wanted besides.
        gamed: df_gamed.csv of the AlpacaEval data set, which length control needs.
        limit: the answers are to the first so many instructions.

    Raises:
        UserError: answers that are not one to each instruction, an instruction that is not among the references.
    """
    given = read_rows(answers / ANSWERS, ("instruction", "output"))
    asked = [row["instruction"] for row in read_rows(gold, ("instruction", "output"))]
    check_one_to_each(answers / ANSWERS, [row[ITEM] for row in given], asked[:limit], item=ITEM)
    _check_one_model(answers / ANSWERS, given)
    truncated = sum(row.pop("cut_tokens", 0) > 0 for row in given)
    rivals = _outputs_to(given, references)
    golds = [row["output"] for row in _outputs_to(given, gold)]
    annotator = WEIGHTED if version == 2 and not ways.ranking else RANKING
    rows, bill = _annotated(out / ANNOTATOR, judge, annotator, ways, (rivals, given, golds), seed)
    write_rows(out / ANNOTATIONS, rows)
    write_items(out, _items(rows, version))
    mute = [row["preference_raw_completion"] for row in rows if row["preference"] is None]
    tell_mute(judge.name, mute, len(rows))
    headline = replace(win_rate(rows, version, judge=judge.name, note=judge.note), truncated=truncated)
    scores = [billed(headline, bill)]
    if length_control:
        places = {instruction: place for place, instruction in enumerate(asked)}
        scores.append(length_controlled(rows, places, gamed, judge=judge.name, note=judge.note))
    write_scores(out, [*scores, _length(given, version)])


def _items(annotations: Sequence[Mapping[str, Any]], version: int) -> Iterator[dict[str, Any]]:
    """One row per instruction; the outcome is the preference for the model's answer as alpaca_eval counts it."""
    for row in annotations:
        yield {
            "task": f"alpaca_eval_{version}",
            "item": row["instruction"],
            "stratum": "",
            "cluster": None,
            "outcome": None if row["preference"] is None else row["preference"] - 1,
            "size": 1.0,
            "question": row["instruction"],
            "answer": row["output_2"],
            "target": row["output_1"],
            "verdict": _words(row["preference_raw_completion"]),
        }


def _words(said: Any) -> str | None:
    """A reply of the judge; where it is the log-probabilities of a label, these as JSON."""
    return said if said is None or isinstance(said, str) else json.dumps(said, ensure_ascii=False)


def _annotated(
    folder: Path,
    judge: Judge,
    annotator: Annotator,
    ways: Ways,
    outputs: tuple[list[dict[str, Any]], list[dict[str, Any]], list[str]],
    seed: int,
) -> tuple[list[dict[str, Any]], Bill]:
    """The annotations with what was said, and what they took.

    Args:
        outputs: of the rival, of the model, and good ones.
    """
    rivals, given, golds = outputs
    import_package()
    with quiet(*TALKERS):
        template = _write_annotator(folder, judge, annotator.config)
        completions = _completions(judge, template, annotator, rivals, given, golds, seed)
        annotate = partial(_annotate, completions=completions, config=folder, seed=seed)
        annotations = _both_orders(annotate, rivals, given) if ways.both_orders else annotate(rivals, given)
    return [
        row | {"preference_raw_completion": completions.said(row)} for row in annotations
    ], completions.bill


def import_package(*, alone: bool = False) -> None:
    """Import alpaca_eval, which takes seconds.

    It sets the root logger's level, which is put back before anybody waits for a judge.

    Args:
        alone: whether the process does nothing else, so that pandas may be told to hold texts as plain objects: the
            package goes through its frames row by row, which is twice as fast then.
    """
    with quiet(*TALKERS):
        import alpaca_eval.annotators
        import pandas

        assert alpaca_eval.annotators
        if alone:
            pandas.set_option("future.infer_string", False)


def _check_one_model(path: Path, answers: Sequence[dict[str, Any]]) -> None:
    """The package tells outputs apart by who generated them."""
    generators = {str(row.setdefault("generator", "answers")) for row in answers}
    if len(generators) > 1:
        raise UserError(f"{path}: holds answers of several models: {', '.join(sorted(generators))}")


def win_rate(
    annotations: Sequence[Mapping[str, Any]], version: int, *, judge: str, note: str | None
) -> Score:
    """The package's win rate in percent; an annotation without a preference makes the count smaller."""
    with quiet(*TALKERS):
        from alpaca_eval.metrics import get_winrate

        preferences = [math.nan if row["preference"] is None else row["preference"] for row in annotations]
        found = get_winrate({"preference": preferences})
    return Score(
        benchmark=f"alpaca_eval_{version}",
        category="judged",
        task=f"alpaca_eval_{version}",
        metric="win_rate",
        value=_number(found["win_rate"]),
        stderr=_number(found["standard_error"]),
        count=int(found["n_total"]),
        total=len(annotations),
        direction="higher",
        judge=judge,
        reading_note=note,
    )


def length_controlled(
    annotations: Sequence[Mapping[str, Any]],
    places: Mapping[str, int],
    gamed: Path | None,
    *,
    judge: str,
    note: str | None,
) -> Score:
    """The package's length-controlled win rate of AlpacaEval 2.0 in percent, fitted to these annotations.

    Args:
        places: of each instruction in the official order, by which `gamed` knows its difficulty.
        gamed: df_gamed.csv of the AlpacaEval data set; without it there is no value.
    """
    score = as_length_controlled(win_rate(annotations, 2, judge=judge, note=note))
    if gamed is None:
        return replace(score, count=0, reading_note=NO_LENGTH_CONTROL)
    if not all("output_1" in row and "output_2" in row for row in annotations):
        return replace(score, count=0, reading_note=NO_OUTPUTS)
    if not all(row["instruction"] in places for row in annotations):
        return replace(score, count=0, reading_note=NOT_OFFICIAL)
    if not score.count:
        return score
    with quiet(*TALKERS):
        from alpaca_eval.metrics import glm_winrate
        from pandas import DataFrame

        glm_winrate.hf_hub_download = lambda **_: str(gamed)  # all that it would fetch
        rows = DataFrame(list(annotations), index=[places[row["instruction"]] for row in annotations])
        rows["preference"] = rows["preference"].astype(float)
        try:
            found = glm_winrate.get_length_controlled_winrate(rows, save_weights_dir=None)
        except ValueError:
            return replace(score, count=0, reading_note=NO_FIT)
    value, stderr = _number(found["length_controlled_winrate"]), _number(found["lc_standard_error"])
    return replace(score, value=value, stderr=stderr)


def is_published(model: str, score: Score) -> bool:
    """Whether the leaderboard that the package brings has this very win rate for the model."""
    with quiet(*TALKERS):
        from alpaca_eval.constants import ALPACAEVAL_2_LEADERBOARD_PATHS, ANNOTATOR_CONFIG_AE2
        from pandas import read_csv

        board = read_csv(
            ALPACAEVAL_2_LEADERBOARD_PATHS / f"{ANNOTATOR_CONFIG_AE2}_leaderboard.csv", index_col=0
        )
        return (
            model in board.index
            and score.value is not None
            and abs(board.win_rate[model] - score.value) < 1e-6
        )


def published_length_controlled(model: str, weights: Path, difficulty: Path) -> float | None:
    """The length-controlled win rate that a model's published fit gives over all 805 instructions; None without one.

    Args:
        weights: of the fits of AlpacaEval 2.0's leaderboard, by model.
        difficulty: of each instruction, by its place.
    """
    with quiet(*TALKERS):
        from alpaca_eval.metrics import glm_winrate
        from pandas import read_csv

        fits = read_csv(weights, index_col=0)
        if model not in fits.index:
            return None
        glm_winrate.hf_hub_download = lambda **_: str(difficulty)  # all that it would fetch
        return 100 * float(glm_winrate.predict_winrate(model, "gpt4_1106_preview", fits))


def as_length_controlled(score: Score) -> Score:
    """A win rate's row for its length-controlled twin, without a value yet."""
    task, metric = "alpaca_eval_2_length_controlled", "length_controlled_winrate"
    return replace(score, task=task, metric=metric, value=None, stderr=None)


def _length(given: Sequence[Mapping[str, Any]], version: int) -> Score:
    name, total = f"alpaca_eval_{version}", len(given)
    mean = fmean(len(row["output"]) for row in given)
    note = "mean length of an answer in characters"
    return Score(
        name, "judged", f"{name}_length", "avg_length", mean, None, total, total, "higher", reading_note=note
    )


def _write_annotator(folder: Path, judge: Judge, name: str) -> str:
    """Write the package's config, less what is the judge's own affair, and the prompt; return the prompt."""
    from alpaca_eval import constants, utils

    [spec] = utils.load_configs(name, relative_to=constants.EVALUATORS_CONFIG_DIR).values()
    template: str = (constants.EVALUATORS_CONFIG_DIR / spec["prompt_template"]).read_text()
    limits = {key: spec["completions_kwargs"].get(key) for key in ("max_tokens", "top_logprobs")}
    del spec["fn_completions"]
    folder.mkdir(exist_ok=True)
    (folder / "prompt.txt").write_text(template)
    config = {
        judge.name: spec | {"prompt_template": f"{folder.name}/prompt.txt", "completions_kwargs": limits}
    }
    (folder / "configs.yaml").write_text(json.dumps(config, indent=2) + "\n")  # JSON is YAML
    return template


def _completions(
    judge: Judge,
    template: str,
    annotator: Annotator,
    rivals: Sequence[Mapping[str, Any]],
    given: Sequence[Mapping[str, Any]],
    golds: Sequence[str],
    seed: int,
) -> Completions:
    """The judge behind every prompt that the package may make of these pairs, in either order."""
    from alpaca_eval.utils import prompt_to_chatml

    comparisons = []
    for rival, row, good in zip(rivals, given, golds, strict=True):
        pair = (rival["output"], row["output"])
        orders = (pair, pair[::-1])
        asked = partial(Comparison, row["instruction"], labels=annotator.labels, reference=good)
        comparisons += [asked(each, rival=rival["generator"]) for each in orders]
    known = {_prompt(template, each): each for each in comparisons}
    return Completions(
        judge,
        messages=prompt_to_chatml(template),
        comparisons=known,
        seed=seed,
        usual_tokens=annotator.usual_tokens,
    )


def _prompt(template: str, comparison: Comparison) -> str:
    """The prompt as the package makes it, marker by marker; a hundred times faster than by its data frames."""
    first, second = comparison.answers
    fields = {"instruction": comparison.question, "output_1": first, "output_2": second}
    for marker in dict.fromkeys(re.findall(r"{([^ \s]+?)}", template)):
        template = template.replace("{" + marker + "}", fields[marker], 1)
    return template


def _annotate(
    rivals: list[dict[str, Any]],
    given: list[dict[str, Any]],
    *,
    completions: Completions,
    config: Path,
    seed: int,
    draw_order: bool = True,
) -> list[dict[str, Any]]:
    """The package's annotations; `preference` goes from 1, the rival is better, to 2, the answer is."""
    from alpaca_eval import utils
    from alpaca_eval.annotators import PairwiseAnnotator
    from pandas import DataFrame

    utils.tqdm = SimpleNamespace(tqdm=lambda chunks, desc: chunks)  # its progress bar has no switch
    package = PairwiseAnnotator(
        annotators_config=config.absolute() / "configs.yaml",
        fn_completions=completions,
        seed=seed,
        caching_path=None,
        is_avoid_reannotations=False,
        is_randomize_output_order=draw_order,
        other_output_keys_to_keep=("preference_raw_completion", "preference_version"),
    )
    annotations = package.annotate_head2head(rivals, given, is_ordered=True, chunksize=None)
    annotated: list[dict[str, Any]] = json.loads(
        DataFrame(annotations).to_json(orient="records", double_precision=15)
    )
    return annotated


def _both_orders(
    annotate: Callable[..., list[dict[str, Any]]],
    rivals: list[dict[str, Any]],
    given: list[dict[str, Any]],
) -> list[dict[str, Any]]:
    """The mean preference of the two orders, so that two verdicts that disagree are a tie; both must be there."""
    straight = annotate(rivals, given, draw_order=False)
    swapped = annotate(given, rivals, draw_order=False)
    return [
        row | {"preference": _mean(row["preference"], other["preference"])}
        for row, other in zip(straight, swapped, strict=True)
    ]


def _mean(straight: float | None, swapped: float | None) -> float | None:
    return None if straight is None or swapped is None else (straight + 3 - swapped) / 2


def _outputs_to(given: Sequence[Mapping[str, Any]], path: Path) -> list[dict[str, Any]]:
    """The outputs in the file `path` to the instructions that were answered, in the order of the answers."""
    outputs = {row["instruction"]: row for row in read_rows(path, ("instruction", "output"))}
    for row in given:
        if row["instruction"] not in outputs:
            raise UserError(f"{path}: there is no output to the instruction {row['instruction'][:80]!r}")
    # The package tells outputs apart by who generated them.
    return [{"generator": "reference"} | outputs[row["instruction"]] for row in given]


def _answer(row: Mapping[str, Any], text: str, cut: int, model_id: str) -> dict[str, Any]:
    """As the package has them, and how many tokens of the prompt the context had no room for."""
    rest = {"generator": model_id, "dataset": row.get("dataset", ""), "cut_tokens": cut}
    return {"instruction": row["instruction"], "output": text.strip()} | rest


def _number(value: Any) -> float | None:
    """NaN is what the package makes of nothing."""
    return None if math.isnan(value) else float(value)
