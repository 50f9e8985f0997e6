"""AlpacaEval 1.0 and 2.0 by the alpaca_eval package: its prompts, annotators, parsers and win rates.

The only module that imports alpaca_eval, and only inside functions, for the import takes seconds. What the
package would take from the environment, the hub or its own folder is given to it, and it writes nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

from im_bench.config import UserError
from im_bench.data.rows import read_rows, write_rows
from im_bench.evaluation.completions import Completions
from im_bench.evaluation.counting import Follow, Tally, nobody
from im_bench.evaluation.quiet import quiet
from im_bench.judging.judge import Comparison, Judge
from im_bench.scores import Score, write_scores

if TYPE_CHECKING:
    from im_bench.evaluation.engine import Engine

ANSWERS = "model_outputs.json"
ANNOTATIONS = "annotations.json"
ANNOTATOR = "annotator"
"""A folder: the package's config of the judge, and the prompt."""
CHUNK = 128
"""Instructions answered between two saves."""
NO_LENGTH_CONTROL = "length control needs df_gamed.csv of the AlpacaEval data set, which is not at hand"


class Annotator(NamedTuple):
    """One of the package's annotator configs, and what its prompt calls the two outputs."""

    config: str
    labels: tuple[str, str]


ANNOTATORS = {
    1: Annotator("alpaca_eval_gpt4", ("model_1", "model_2")),
    2: Annotator("weighted_alpaca_eval_gpt4_turbo", ("m", "M")),
}


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
            write_rows(saved, [_answer(row, text, model_id) for row, text in zip(chunk, texts, strict=True)])
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
    gamed: Path | None = None,
) -> None:
    """Have the answers in the folder `answers` compared with those in the file `references`, into `out`.

    Args:
        version: of AlpacaEval, 1 or 2; `references` are the outputs of its model to beat.
        gold: outputs that a judge without language holds answers against: those of AlpacaEval 2.0.
        seed: of the order in which the judge sees the two outputs.
        gamed: df_gamed.csv of the AlpacaEval data set, for the length-controlled win rate of 2.0; it holds
            the difficulty of each official instruction, in their order.

    Raises:
        UserError: an answered instruction that is not among the references.
    """
    given = read_rows(answers / ANSWERS, ("instruction", "output"))
    rivals = _outputs_to(given, references)
    golds = [row["output"] for row in _outputs_to(given, gold)]
    with quiet():
        template = _write_annotator(out / ANNOTATOR, judge, ANNOTATORS[version].config)
        completions = _completions(judge, template, ANNOTATORS[version].labels, rivals, given, golds)
        annotations = _annotate(rivals, given, completions, config=out / ANNOTATOR, seed=seed)
    write_rows(out / ANNOTATIONS, annotations)
    scores = [win_rate(annotations, version, judge)]
    if version == 2:
        scores.append(length_controlled(annotations, gamed, judge))
    write_scores(out, [*scores, _length(given, version)])


def win_rate(annotations: Sequence[Mapping[str, Any]], version: int, judge: Judge) -> Score:
    """The package's win rate in percent; an annotation without a preference makes the count smaller."""
    with quiet():
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
        judge=judge.name,
        reading_note=judge.note,
    )


def length_controlled(annotations: Sequence[Mapping[str, Any]], gamed: Path | None, judge: Judge) -> Score:
    """The package's length-controlled win rate of AlpacaEval 2.0 in percent; none without `gamed`."""
    task, metric = "alpaca_eval_2_length_controlled", "length_controlled_winrate"
    score = replace(win_rate(annotations, 2, judge), task=task, metric=metric, value=None, stderr=None)
    if gamed is None:
        return replace(score, count=0, reading_note=NO_LENGTH_CONTROL)
    if not score.count:
        return score
    with quiet():
        from alpaca_eval.metrics import glm_winrate

        glm_winrate.hf_hub_download = lambda **_: str(gamed)  # all that it would fetch
        found = glm_winrate.get_length_controlled_winrate(list(annotations), save_weights_dir=None)
    value, stderr = _number(found["length_controlled_winrate"]), _number(found["lc_standard_error"])
    return replace(score, value=value, stderr=stderr)


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
    labels: tuple[str, str],
    rivals: Sequence[Mapping[str, Any]],
    given: Sequence[Mapping[str, Any]],
    golds: Sequence[str],
) -> Completions:
    """The judge behind every prompt that the package may make of these pairs, in either order."""
    from alpaca_eval.utils import make_prompts, prompt_to_chatml
    from pandas import DataFrame

    comparisons = []
    for rival, row, good in zip(rivals, given, golds, strict=True):
        pair = (rival["output"], row["output"])
        comparisons += [Comparison(row["instruction"], each, labels, good) for each in (pair, pair[::-1])]
    rows = [(each.question, *each.answers) for each in comparisons]
    prompts, _ = make_prompts(DataFrame(rows, columns=["instruction", "output_1", "output_2"]), template)
    known = dict(zip(prompts, comparisons, strict=True))
    return Completions(judge, messages=prompt_to_chatml(template), comparisons=known)


def _annotate(
    rivals: list[dict[str, Any]],
    given: list[dict[str, Any]],
    completions: Completions,
    *,
    config: Path,
    seed: int,
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
        other_output_keys_to_keep=("preference_raw_completion", "preference_version"),
    )
    annotations = package.annotate_head2head(rivals, given, is_ordered=True, chunksize=None)
    rows = json.loads(DataFrame(annotations).to_json(orient="records", double_precision=15))
    return [row | {"preference_raw_completion": completions.said(row)} for row in rows]


def _outputs_to(given: Sequence[Mapping[str, Any]], path: Path) -> list[dict[str, Any]]:
    """The outputs in the file `path` to the instructions that were answered, in the order of the answers."""
    outputs = {row["instruction"]: row for row in read_rows(path, ("instruction", "output"))}
    for row in given:
        if row["instruction"] not in outputs:
            raise UserError(f"{path}: there is no output to the instruction {row['instruction'][:80]!r}")
    return [outputs[row["instruction"]] for row in given]


def _answer(row: Mapping[str, Any], text: str, model_id: str) -> dict[str, str]:
    rest = {"generator": model_id, "dataset": row.get("dataset", "")}
    return {"instruction": row["instruction"], "output": text.strip()} | rest


def _number(value: Any) -> float | None:
    """NaN is what the package makes of nothing."""
    return None if math.isnan(value) else float(value)
