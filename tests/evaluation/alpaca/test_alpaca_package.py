"""The alpaca_eval package on our files, and ours on its own: one command line, prompt and win rate."""

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from favours import Favours, answers, headline

from im_bench.data.rows import read_rows, write_rows
from im_bench.evaluation import alpaca_eval


@pytest.mark.slow
@pytest.mark.parametrize(
    ("version", "ways"), [(1, alpaca_eval.PLAIN), (2, alpaca_eval.PLAIN), (2, alpaca_eval.Ways(ranking=True))]
)
def test_the_packages_command_line_takes_our_files_and_asks_nobody(files, tmp_path, version, ways):
    outputs = ["mine", "", "42", 'worse\n"quoted" {instruction}', "no words", "mine"]
    folder, out, theirs = answers(tmp_path, outputs), tmp_path / "out", tmp_path / "theirs"
    out.mkdir()
    alpaca_eval.judge(out, folder, Favours("mine"), version=version, seed=3, ways=ways, **files)
    shutil.copy(out / alpaca_eval.ANNOTATIONS, tmp_path / "cache.json")
    options = {
        "model_outputs": folder / alpaca_eval.ANSWERS,
        "reference_outputs": files["references"],
        "annotators_config": out / alpaca_eval.ANNOTATOR,
        "caching_path": tmp_path / "cache.json",
        "seed": 3,
        "fn_metric": "get_winrate",
        "sort_by": "win_rate",
        "precomputed_leaderboard": None,
        "output_path": theirs,
    }
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI")}
    done = subprocess.run(
        [Path(sys.executable).parent / "alpaca_eval", "evaluate", *words],
        env=kept | {"HF_HUB_OFFLINE": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "Annotating 0 examples with favours" in done.stderr
    with (theirs / "leaderboard.csv").open() as file:
        [row] = csv.DictReader(file)
    score = headline(out)
    assert (row[""], int(row["n_total"])) == ("mine", score.count)
    assert float(row["win_rate"]) == pytest.approx(score.value, abs=1e-9)
    assert float(row["standard_error"]) == pytest.approx(score.stderr, abs=1e-9)


@pytest.mark.parametrize("version", [1, 2])
def test_stored_annotations_give_the_published_win_rates(real, version):
    with (real / f"published_v{version}.csv").open() as file:
        published = list(csv.DictReader(file))
    for row in published:
        annotations = read_rows(real / f"annotations_v{version}/{row['']}.jsonl")
        score = alpaca_eval.win_rate(annotations, version, judge="stored", note=None)
        assert score.value == pytest.approx(float(row["win_rate"]), abs=1e-6)
        assert score.stderr == pytest.approx(float(row["standard_error"]), abs=1e-6)
        assert score.count == int(row["n_total"])
    assert len(published) == (2 if version == 1 else 3)


@pytest.mark.parametrize("version", [1, 2])
def test_what_the_judge_is_sent_is_what_the_package_would_send(real, tmp_path, version):
    from alpaca_eval.constants import EVALUATORS_CONFIG_DIR
    from alpaca_eval.utils import load_configs, make_prompts, prompt_to_chatml
    from pandas import DataFrame

    gold = real / "reference_outputs/gpt4_1106_preview.jsonl"
    weak = real / "reference_outputs/alpaca_eval_v1_reference_text_davinci_003.jsonl"
    (tmp_path / "answers").mkdir()
    write_rows(
        tmp_path / "answers" / alpaca_eval.ANSWERS, read_rows(real / "model_outputs/vicuna-13b.jsonl")[:100]
    )
    judge = Favours("the")
    paths = {"references": weak if version == 1 else gold, "gold": gold}
    alpaca_eval.judge(tmp_path, tmp_path / "answers", judge, version=version, seed=0, limit=100, **paths)
    annotator = alpaca_eval.RANKING if version == 1 else alpaca_eval.WEIGHTED
    [spec] = load_configs(annotator.config, relative_to=EVALUATORS_CONFIG_DIR).values()
    template = (EVALUATORS_CONFIG_DIR / spec["prompt_template"]).read_text()
    for request in judge.requests:
        subject = request.subject
        table = DataFrame(
            [[subject.question, *subject.answers]], columns=["instruction", "output_1", "output_2"]
        )
        [prompt] = make_prompts(table, template)[0]
        assert request.messages == prompt_to_chatml(prompt)
    assert len(judge.requests) == 100
