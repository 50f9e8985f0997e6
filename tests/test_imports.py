"""What is loaded when: tables, help and plans are for a laptop, and wait for no framework."""

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {
    "torch",
    "transformers",
    "datasets",
    "lm_eval",
    "alpaca_eval",
    "wandb",
    "openai",
    "pandas",
    "matplotlib",
}


def loaded(code: str, *arguments: str) -> set[str]:
    """The heavy packages that a fresh interpreter has loaded after `code`."""
    code += "\nimport sys; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    return HEAVY & set(done.stdout.split())


@pytest.mark.parametrize(
    "module",
    ["cli", "config", "report", "report.collect", "report.tables", "pipeline", "sweep", "store", "tracking"],
)
def test_importing_what_does_no_work_loads_no_framework(module: str) -> None:
    assert loaded(f"import im_bench.{module}") == set()


def test_composing_a_sweep_loads_no_framework() -> None:
    assert (
        loaded("from im_bench.composing import SWEEPS, sweep_runs; sweep_runs('demo', SWEEPS, [])") == set()
    )


def test_planning_a_cell_loads_no_framework(tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    code = """
import sys
from im_bench.composing import CONF, compose_run
from im_bench.pipeline import plan
from im_bench.store import Store
overrides = ["experiment=toy", "model=local", "dataset=local", "benchmark=[piqa]", "paths.hub=null"]
run = compose_run("config", CONF, [*overrides, *sys.argv[1:]])
cell = plan(run)
assert not Store(run.paths.results).done(cell.checkpoint)
"""
    given = (
        f"model.path={tmp_path}",
        f"dataset.path={tmp_path}/rows.jsonl",
        f"paths.results={tmp_path}/results",
    )
    assert loaded(code, *given) == set()
