"""What the commands on files of others are given."""

import io
import json
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from ingested import Command, Real, Said

from im_bench.cli import main


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs a command in this process, in a folder of the test's own."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> Said:
        try:
            code = main([str(word) for word in words])
        except SystemExit as leave:  # how argparse refuses
            code = int(leave.code or 0)
        return Said(code, *capsys.readouterr())

    return run


@pytest.fixture(scope="module")
def real(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Real:
    data = shared / "data"
    stored = [data / "mt_bench/model_judgment/gpt-4_single.jsonl"]
    stored += [file for n in (1, 2) for file in sorted((data / f"alpaca_eval/annotations_v{n}").glob("*"))]
    own = [f"paths.assets={data}", f"paths.results={tmp_path_factory.mktemp('results')}"]
    with redirect_stdout(io.StringIO()) as printed:
        assert main(["ingest", *map(str, stored), *own, "--json"]) == 0
    return Real(data, json.loads(printed.getvalue()))


@pytest.fixture(scope="module")
def world(given: Path) -> Path:
    """The files of the toy world's judged benchmarks, as a folder for paths.assets."""
    return given / "assets"


@pytest.fixture
def ingest(said: Command, world: Path) -> Command:
    return lambda *words: said("ingest", *words, f"paths.assets={world}")


@pytest.fixture
def judge(said: Command, world: Path) -> Command:
    """The judge that needs no server, unless another is named."""

    def run(*words: object) -> Said:
        named = any(str(word).startswith("judge=") for word in words)
        return said("judge", *words, *([] if named else ["judge=overlap"]), f"paths.assets={world}")

    return run


@pytest.fixture
def agreement(said: Command, world: Path) -> Command:
    return lambda *words: said("agreement", *words, f"paths.assets={world}")
