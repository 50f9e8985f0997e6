"""`im-bench gc`: what no sweep names, and never anything that one does."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from small_cell import records, words

from im_bench import pruning
from im_bench.cli import main
from im_bench.composing import CONF, compose_run, sweep_runs
from im_bench.evaluation.benchmarks import missing_score
from im_bench.pipeline import Cell, plan, plan_sweep
from im_bench.report.collect import FILE
from im_bench.scores import write_scores
from im_bench.store import Step, Store

BOTH = ("loss=it,im", "benchmark=[piqa,mt_bench]")
FIELDS = ["step", "bytes", "days", "done"]


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory, given: Path) -> Path:
    """Results of two losses in one sweep, of its own file."""
    results = tmp_path_factory.mktemp("swept")
    run(given, results, *BOTH)
    return results


def run(given: Path, results: Path, *overrides: str) -> None:
    """A command whose steps are there already: with made-up scores it is soon through."""
    finish(plan_sweep(sweep_runs("config", CONF, words(given, results, *overrides))))
    assert main(["run", "--multirun", *words(given, results, *overrides)]) == 0


def finish(cells: Sequence[Cell]) -> None:
    """Give every step that has none its record, and those of benchmarks a score."""
    store = Store(cells[0].run.paths.results / "store")
    scored = {step.key: name for each in cells for name, step in each.benchmarks.items()}
    for step in store.missing(step for each in cells for step in each.steps()):
        out = store.root / step.kind / step.folder
        out.mkdir(parents=True)
        if name := scored.get(step.key):
            write_scores(out, [replace(missing_score(name), value=0.5, count=1, total=1)])
        store._commit(step, out, seconds=1.0)


@pytest.fixture
def results(swept: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return Path(shutil.copytree(swept, tmp_path / "results"))


@pytest.fixture
def collected(capsys: pytest.CaptureFixture[str]) -> Callable[..., list[str]]:
    def gc(results: Path, *options: str) -> list[str]:
        capsys.readouterr()
        assert main(["gc", f"paths.results={results}", "--json", *options]) == 0
        found = json.loads(capsys.readouterr().out)
        assert all(list(each) == FIELDS for each in found)
        return [each["step"] for each in found]

    return gc


@pytest.fixture
def holding() -> Iterator[Callable[[Path], None]]:
    """Has another process hold the lock of a step for as long as the test takes."""
    started: list[subprocess.Popen[str]] = []
    code = "import sys; from filelock import FileLock; lock = FileLock(sys.argv[1]); lock.acquire(); "
    code += "print('held', flush=True); sys.stdin.read()"

    def hold(folder: Path) -> None:
        lock = folder.with_name(f".{folder.name.rpartition('-')[2]}.lock")
        command = [sys.executable, "-c", code, str(lock)]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        assert started[-1].stdout is not None and started[-1].stdout.readline() == "held\n"

    yield hold
    for holder in started:
        holder.kill()
        holder.communicate()


def cell(given: Path, results: Path, *overrides: str) -> Cell:
    return plan(compose_run("config", CONF, words(given, results, *BOTH[1:], *overrides)))


def lines(results: Path) -> list[str]:
    return [line for file in (results / "sweeps").glob("*.jsonl") for line in file.read_text().splitlines()]


def forget(results: Path, *, ledger: bool) -> None:
    shutil.rmtree(results / "sweeps")
    if ledger:
        (results / FILE).unlink()


def unfinished(results: Path, step: Step) -> Path:
    """What is left of a training that was killed."""
    out = results / "store" / step.kind / step.folder
    (out / "state").mkdir(parents=True)
    (out / "state/model.bin").write_bytes(bytes(1000))
    return out


def aged(results: Path, name: str, key: str, *, bytes_: int = 500) -> Path:
    """A copy of a step as if another version had made it."""
    folder = results / "store" / name
    old = folder.with_name(f"{folder.name.rpartition('-')[0]}-{key}")
    shutil.copytree(folder, old)
    record = json.loads((old / "step.json").read_text())
    record["key"], record["identity"]["version"] = key, 0
    (old / "step.json").write_text(json.dumps(record))
    (old / "more.bin").write_bytes(bytes(bytes_))
    return old


def named(paths: Sequence[Path]) -> list[str]:
    return sorted(f"{path.parent.name}/{path.name}" for path in paths)


# --- what is named ---


def test_after_a_sweep_nothing_is_left_over(swept: Path, collected, capsys) -> None:
    assert collected(swept) == []
    assert main(["gc", f"paths.results={swept}"]) == 0
    assert capsys.readouterr().out == "every step in the store is named by a sweep\n"


def test_a_store_that_is_not_there_has_nothing_left_over_and_is_not_made(tmp_path: Path, collected) -> None:
    assert collected(tmp_path / "none") == []
    assert not list(tmp_path.iterdir())


def test_a_command_is_remembered_once_and_another_beside_it(given: Path, results: Path, collected) -> None:
    assert main(["run", "--multirun", *words(given, results, *BOTH)]) == 0
    (swept_as,) = [line for line in lines(results) if f"paths.results={results}" in line]
    assert json.loads(swept_as)[:2] == ["run", "--multirun"]
    before = lines(results)
    assert main(["run", "--multirun", *words(given, results, *BOTH)]) == 0
    assert lines(results) == before
    run(given, results, "loss=none", "benchmark=[piqa]")
    assert len(lines(results)) == len(before) + 1
    assert collected(results) == []


def test_a_sweep_given_with_other_axes_names_what_it_names_now_and_what_it_named(
    given: Path, results: Path, tmp_path: Path, collected
) -> None:
    """Its rows of the ledger are those of the last command alone, which is one more line beside the first."""
    mine = tmp_path / "mine.yaml"
    mine.write_text(
        "defaults: [config, override experiment: toy, override model: local, override dataset: local, _self_]\n"
        "hydra: {sweeper: {params: {loss: 'it,im'}}}\n"
    )
    own = [
        word
        for word in words(given, results, *BOTH[1:])
        if not word.startswith(("experiment", "model=", "dataset="))
    ]
    forget(results, ledger=True)
    assert main(["sweep", str(mine), *own]) == 0
    assert main(["sweep", str(mine), *own, "loss=im"]) == 0
    rows = [json.loads(line) for line in (results / FILE).read_text().splitlines()]
    assert {row["loss"] for row in rows} == {"im"}
    assert len(lines(results)) == 2
    assert collected(results) == []
    file = results / "sweeps/mine.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[1:]))
    it = cell(given, results, "loss=it")
    assert sorted(collected(results)) == sorted(step.name for step in it.steps() if step.kind != "base")


def test_a_file_of_ones_own_is_found_from_another_folder(
    given: Path, results: Path, tmp_path: Path, collected, monkeypatch
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    Path("mine.yaml").write_text(
        "defaults: [config, override experiment: toy, override model: local, override dataset: local, _self_]\n"
    )
    own = [
        word
        for word in words(given, results, "benchmark=[piqa]", "loss=none")
        if not word.startswith(("experiment", "model=", "dataset="))
    ]
    finish([plan(compose_run("config", CONF, words(given, results, "benchmark=[piqa]", "loss=none")))])
    assert main(["sweep", "mine.yaml", *own]) == 0
    monkeypatch.chdir(tmp_path / "there")
    assert collected(results) == []


def test_what_the_ledger_names_stays_with_all_that_it_was_made_of(results: Path, collected) -> None:
    forget(results, ledger=False)
    assert collected(results) == []


def test_what_is_neither_in_a_command_nor_in_the_ledger_is_left_over(results: Path, collected) -> None:
    everything = sorted(records(results))
    forget(results, ledger=True)
    assert sorted(collected(results)) == everything


def test_a_row_of_the_ledger_keeps_its_own_chain_and_no_other(given: Path, results: Path, collected) -> None:
    forget(results, ledger=False)
    it, im = cell(given, results, "loss=it"), cell(given, results, "loss=im")
    ledger = results / FILE
    verdicts = it.benchmarks["mt_bench"]
    ledger.write_text(
        "".join(line for line in ledger.read_text().splitlines(keepends=True) if verdicts.key in line)
    )
    left = {step.name for step in (*it.steps(), *im.steps())} - {
        step.name for step in (verdicts, *verdicts.needs)
    }
    left -= {it.checkpoint.name, it.checkpoint.needs[0].name}
    assert set(collected(results)) == left


def test_an_unfinished_training_of_a_remembered_command_stays(given: Path, results: Path, collected) -> None:
    other = cell(given, results, "loss=full").checkpoint
    out = unfinished(results, other)
    assert collected(results) == [other.name]
    pruning.remember(results, "more", ["run", *words(given, results, *BOTH[1:], "loss=full")])
    assert collected(results, "--delete") == []
    assert (out / "state/model.bin").exists()


# --- what is left over ---


def test_a_step_of_another_version_is_listed_with_its_bytes_and_age(results: Path, collected, capsys) -> None:
    (train, _) = [name for name in records(results) if name.startswith("train/")]
    old = aged(results, train, "0a0a0a0a", bytes_=123_456)
    then = (old / "step.json").stat().st_mtime - 3 * 86_400
    for path in (old, *old.rglob("*")):
        os.utime(path, (then, then))
    assert main(["gc", f"paths.results={results}", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    size = sum(path.stat().st_size for path in (old, *old.rglob("*")))
    assert found == {"step": named([old])[0], "bytes": size, "days": pytest.approx(3, abs=0.1), "done": True}
    assert size > 123_456
    assert main(["gc", f"paths.results={results}"]) == 0
    said = capsys.readouterr().out
    assert named([old])[0] in said and f"{size:,}" in said and "3.0" in said
    assert "1 step that no sweep names" in said and "--delete deletes them" in said
    assert old.exists()


def test_delete_removes_exactly_what_is_listed(given: Path, results: Path, collected, capsys) -> None:
    before = records(results)
    train = next(name for name in before if name.startswith("train/"))
    harness = next(name for name in before if name.startswith("harness/"))
    left = [aged(results, train, "0a0a0a0a"), aged(results, harness, "0b0b0b0b")]
    left += [unfinished(results, cell(given, results, "loss=full").checkpoint)]
    assert sorted(collected(results)) == named(left)
    assert main(["gc", f"paths.results={results}", "--delete"]) == 0
    said = capsys.readouterr().out
    assert "3 steps that no sweep names" in said and said.strip().endswith("deleted")
    assert not any(path.exists() for path in left)
    assert records(results) == before
    assert collected(results) == []
    assert main(["run", "--multirun", *words(given, results, *BOTH)]) == 0
    assert records(results) == before


def test_what_a_living_process_makes_is_neither_listed_nor_deleted(
    given: Path, results: Path, collected, holding
) -> None:
    out = unfinished(results, cell(given, results, "loss=full").checkpoint)
    holding(out)
    assert collected(results) == collected(results, "--delete") == []
    assert (out / "state/model.bin").exists()


def test_what_somebody_began_to_make_after_it_was_listed_is_not_deleted(
    given: Path, results: Path, holding
) -> None:
    out = unfinished(results, cell(given, results, "loss=full").checkpoint)
    found = pruning.unnamed(
        results, lambda words: [cell(given, results, loss) for loss in ("loss=it", "loss=im")]
    )
    assert [each.folder for each in found] == [out]
    holding(out)
    assert pruning.delete(found, results) == []
    assert (out / "state/model.bin").exists()


def test_what_a_link_points_to_is_neither_counted_nor_deleted(
    results: Path, collected, tmp_path: Path
) -> None:
    (train, _) = [name for name in records(results) if name.startswith("train/")]
    old = aged(results, train, "0a0a0a0a")
    (tmp_path / "weights.bin").write_bytes(bytes(10_000_000))
    (old / "linked.bin").symlink_to(tmp_path / "weights.bin")
    (old / "broken.bin").symlink_to(tmp_path / "none.bin")
    (found,) = pruning.unnamed(results, lambda _: [])
    assert found.bytes < 10_000_000
    assert collected(results, "--delete") == named([old])
    assert (tmp_path / "weights.bin").exists()


# --- commands that nobody can plan ---


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('["run", "loss=gone"]', "loss=gone: there is no such loss"),
        ('["sweep", "gone"]', "there is no sweep gone"),
        ('["sweep", "/nowhere/mine.yaml"]', "there is no file /nowhere/mine.yaml"),
        ('["explore", "demo"]', "it is no command"),
        ('["run", "--gone"]', "it is no command"),
        ("run loss=it", "line 1: is no list of words; delete the line"),
        ('"run"', "line 1: is no list of words; delete the line"),
        ("", "line 1: is no list of words; delete the line"),
    ],
)
def test_a_command_that_cannot_be_planned_any_more_is_named_with_its_file(
    results: Path, capsys: pytest.CaptureFixture[str], line: str, reason: str
) -> None:
    (results / "sweeps/gone.jsonl").write_text(f"{line}\n")
    before = records(results)
    assert main(["gc", f"paths.results={results}", "--delete"]) == 2
    said = capsys.readouterr()
    assert said.out == "" and f"{results}/sweeps/gone.jsonl" in said.err and reason in said.err
    assert "line" in said.err and "usage" not in said.err and said.err.count("\n") == 1
    assert records(results) == before


@pytest.mark.parametrize("given_words", [["demo"], ["demo", "loss=im"], ["mine.yaml", "--delete"]])
def test_gc_takes_no_sweep_and_says_so(capsys: pytest.CaptureFixture[str], given_words: list[str]) -> None:
    assert main(["gc", *given_words]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith(f"im-bench: gc {given_words[0]}: takes no sweep")


def test_where_data_is_not_at_hand_nobody_knows_what_a_command_names(
    given: Path, results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else its unfinished steps, whose keys hold a hash of that data, would be taken for garbage."""
    rows = shutil.copy(given / "rows.jsonl", tmp_path / "rows.jsonl")
    asked = words(given, results, *BOTH[1:], "loss=full", f"dataset.path={rows}")
    out = unfinished(results, cell(given, results, "loss=full").checkpoint)
    pruning.remember(results, "more", ["run", *asked])
    Path(rows).unlink()
    assert main(["gc", f"paths.results={results}", "--delete"]) == 2
    said = capsys.readouterr().err
    assert f"{results}/sweeps/more.jsonl" in said and f"dataset.path={rows} is not at hand" in said
    assert (out / "state/model.bin").exists()


# --- elsewhere ---


def test_results_that_were_moved_are_tidied_where_they_are(
    results: Path, tmp_path: Path, collected, monkeypatch
) -> None:
    moved = results.rename(tmp_path / "new place, with signs")
    (train, _) = [name for name in records(moved) if name.startswith("train/")]
    old = aged(moved, train, "0a0a0a0a")
    monkeypatch.chdir(tmp_path)
    assert main(["gc", "--json", f"paths.results='{moved}'", "--delete"]) == 0
    assert not old.exists()
    monkeypatch.chdir(moved.parent)
    moved = moved.rename(tmp_path / "results")
    assert collected(Path("results")) == []
    assert main(["gc"]) == 0
