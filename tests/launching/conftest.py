"""The small sweep, and what it comes to on this machine; what fake cells need."""

from collections.abc import Callable
from pathlib import Path

import pytest
from fake_cells import InThread, Seen, run_of
from small_sweep import SMALL, SWEEP, Sweep

from im_bench.composing import CONF, compose_run
from im_bench.config import Run, UserError
from im_bench.launching import launch, local
from im_bench.store import Store
from im_bench.work import Quiet


@pytest.fixture(scope="session")
def file(tmp_path_factory: pytest.TempPathFactory, given: Path) -> Path:
    """Of the small sweep."""
    path = tmp_path_factory.mktemp("sweep") / "small.yaml"
    path.write_text(SWEEP.format(given=given))
    return path


@pytest.fixture(scope="session")
def undisturbed(file: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What SMALL comes to with launcher=local."""
    return outcome_here(file, tmp_path_factory.mktemp("small"), *SMALL)


@pytest.fixture(scope="session")
def all_undisturbed(file: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What all cells come to with launcher=local."""
    return outcome_here(file, tmp_path_factory.mktemp("all"))


def outcome_here(file: Path, folder: Path, *cells: str) -> dict[str, str]:
    sweep = Sweep(file, folder / "results")
    sweep.run(*cells)
    return sweep.outcome


@pytest.fixture
def refused(tmp_path: Path) -> Callable[..., str]:
    """What is said of a launcher that cannot even be given nothing to do."""

    def refused(*overrides: str) -> str:
        launcher = compose_run("config", CONF, ["experiment=toy", *overrides]).launcher
        with pytest.raises(UserError) as error:
            launch([], launcher, Store(tmp_path / "store"), Quiet())
        return str(error.value)

    return refused


# --- fake cells ---


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return run_of(tmp_path)


@pytest.fixture
def store(run: Run) -> Store:
    return Store(run.paths.results / "store")


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> list[InThread]:
    """Those that a launcher makes: for chains, and the last one for verdicts."""
    monkeypatch.setattr(InThread, "made", [])
    monkeypatch.setattr(local, "Worker", InThread)
    monkeypatch.setattr("im_bench.evaluation.alpaca_eval.import_package", lambda *, alone: None)
    return InThread.made
