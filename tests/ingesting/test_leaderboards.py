"""alpaca_eval's leaderboards as rows of the ledger."""

import csv
from importlib.util import find_spec
from pathlib import Path

import pytest
from ingested import Command, Said, annotations, digest, in_ledger, refused

BOARDS = Path(find_spec("alpaca_eval").origin).parent / "leaderboards"
GPT4 = "alpaca_eval_gpt4"
TURBO = "weighted_alpaca_eval_gpt4_turbo"
HEADER = (
    ",win_rate,standard_error,n_wins,n_wins_base,n_draws,n_total,mode,avg_length,length_controlled_winrate\n"
)
OURS = "ours,12.5,1.25,100,700,4,804.0,community,1234.0,15.5\n"


@pytest.fixture
def take(said: Command, tmp_path: Path):
    """Ingests a leaderboard of this text, under this name."""

    def run(text: str, name: str = f"{TURBO}_leaderboard.csv") -> Said:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
        return said("ingest", tmp_path / name, "--json")

    return run


def test_a_model_has_its_win_rates_and_the_length_of_its_answers(take, tmp_path):
    rows = take(HEADER + OURS).rows
    found = {
        task: [row[key] for key in ("metric", "value", "stderr", "count", "total", "judge")]
        for (_, task), row in rows.items()
    }
    assert found == {
        "alpaca_eval_2": ["win_rate", 12.5, 1.25, 804, 805, TURBO],
        "alpaca_eval_2_length_controlled": ["length_controlled_winrate", 15.5, None, 804, 805, TURBO],
        "alpaca_eval_2_length": ["avg_length", 1234.0, None, 804, 805, TURBO],
    }
    file = tmp_path / f"{TURBO}_leaderboard.csv"
    assert {row["source"] for row in rows.values()} == {f"{file.name} (sha256 {digest(file)})"}


def test_what_a_row_leaves_open_has_no_row_of_the_ledger(take):
    assert set(take(HEADER + "ours,12.5,,,,,805,,,\n").rows) == {("ours", "alpaca_eval_2")}


@pytest.mark.parametrize(
    ("name", "judge", "version"),
    [
        (f"{GPT4}_leaderboard.csv", GPT4, 1),
        (f"{TURBO}_leaderboard.csv", TURBO, 2),
        (f"results/ours/{GPT4}/leaderboard.csv", GPT4, 1),
        (f"results/ours/{TURBO}/leaderboard.csv", TURBO, 2),
        ("data_AlpacaEval_2/mine_leaderboard.csv", "mine", 2),
        ("data_AlpacaEval/mine/leaderboard.csv", "mine", 1),
    ],
)
def test_judge_and_version_are_in_the_names_of_file_and_folders(take, name, judge, version):
    row = take(HEADER + OURS, name).rows["ours", f"alpaca_eval_{version}"]
    assert row["judge"] == judge


@pytest.mark.parametrize("name", ["board.csv", "mine_leaderboard.csv", "mine/leaderboard.csv"])
def test_names_that_do_not_say_it_are_refused_with_those_that_do(take, tmp_path, name):
    said = take(HEADER + OURS, name)
    refused(
        said, f"{tmp_path / name}: its name does not say whose annotations these are, and of which AlpacaEval"
    )
    for remedy in (f"{GPT4}_leaderboard.csv (1.0)", f"{TURBO}_leaderboard.csv (2.0)", "data_AlpacaEval_2"):
        assert remedy in said.error


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (HEADER + OURS + OURS, "row 1 (line 3): ours stands twice"),
        (HEADER + OURS.removeprefix("ours"), "row 0 (line 2): names no model"),
        (
            HEADER + OURS.replace("12.5", "nan"),
            "row 0 (line 2): win_rate is 'nan', not a number from 0 to 100",
        ),
        (HEADER + OURS.replace("12.5", "high"), "win_rate is 'high', not a number from 0 to 100"),
        (
            HEADER + OURS.replace("12.5", ""),
            "row 0 (line 2): win_rate is '', which is no number of that kind",
        ),
        (HEADER + OURS.replace("12.5", "112.5"), "win_rate is '112.5', not a number from 0 to 100"),
        (HEADER + OURS.replace("804.0", "80.5"), "n_total is '80.5', which is no number of that kind"),
        (HEADER + OURS.replace("1234.0", "-3"), "avg_length is '-3', not a number of at least 0"),
        (HEADER + "ours,12.5\n", "row 0 (line 2): 2 cells, but the header has 10 columns"),
        (
            OURS + OURS,
            "line 1: is no leaderboard of alpaca_eval, whose header has the columns win_rate and n_total",
        ),
        (HEADER, "the file holds no rows"),
        ("", "the file holds no rows"),
    ],
)
def test_what_is_wrong_with_a_leaderboard_is_told_with_its_row(take, tmp_path, text, reason):
    said = take(text)
    refused(said, f"{tmp_path}/{TURBO}_leaderboard.csv")
    assert reason in said.error


def test_annotations_and_a_leaderboard_of_one_judge_say_the_same_or_are_refused(said, world, tmp_path):
    board = tmp_path / f"{TURBO}_leaderboard.csv"
    board.write_text(HEADER + OURS)
    file = annotations(tmp_path / "a.jsonl", world, [1.0, 2.0], annotator=TURBO)
    done = said("ingest", board, file, f"paths.assets={world}")
    assert done.code == 2 and f"both have {TURBO}'s alpaca_eval_2 of ours; give one" in done.error


@pytest.mark.parametrize(
    ("name", "version", "few"),
    [(f"data_AlpacaEval/{GPT4}", 1, 20), (f"data_AlpacaEval_2/{TURBO}", 2, 200)],
)
def test_the_packages_own_leaderboards_become_the_rows_that_they_have(said, name, version, few):
    file = BOARDS / f"{name}_leaderboard.csv"
    rows = said("ingest", file, "--json").rows
    with file.open() as opened:
        models = {row[""]: row for row in csv.DictReader(opened)}
    assert len(models) > few
    assert {model for model, _ in rows} == set(models)
    for model, numbers in models.items():
        row = rows[model, f"alpaca_eval_{version}"]
        assert (row["value"], row["stderr"], row["count"]) == (
            float(numbers["win_rate"]),
            float(numbers["standard_error"]),
            float(numbers["n_total"]),
        )
        controlled = rows.get((model, "alpaca_eval_2_length_controlled"))
        assert (controlled is None) == (version == 1)
        if controlled:
            assert controlled["value"] == float(numbers["length_controlled_winrate"])


def test_every_leaderboard_of_the_package_can_be_taken_at_once(said):
    files = sorted(BOARDS.glob("data_AlpacaEval*/*.csv"))
    assert len(files) == 9 and said("ingest", *files).code == 0
    assert len({row.judge for row in in_ledger()}) == 9


def test_a_leaderboard_of_annotators_is_none_of_models(said):
    board = BOARDS / "evaluators/evaluators_leaderboard.csv"
    refused(said("ingest", board), f"{board}, line 1: is no leaderboard of alpaca_eval")


def test_stored_annotations_count_to_the_packages_leaderboard(said, real):
    rows = said("ingest", BOARDS / f"data_AlpacaEval_2/{TURBO}_leaderboard.csv", "--json").rows
    for model in ("alpaca-7b", "text_davinci_001", "vicuna-13b"):
        counted, published = real.row(model, "alpaca_eval_2"), rows[model, "alpaca_eval_2"]
        assert counted["value"] == pytest.approx(published["value"], abs=1e-6)
        assert (counted["judge"], counted["count"]) == (published["judge"], published["count"])
