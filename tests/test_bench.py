"""Our sides of the benchmarks run, at their smallest; what they measure is no test."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from im_bench.composing import ROOT

pytestmark = pytest.mark.nightly


def measured(name: str, *options: str) -> dict[str, float]:
    command = [sys.executable, "-W", "ignore", str(ROOT / "benchmarks" / f"{name}.py"), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("{"))
    found: dict[str, float] = json.loads(line)
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process's memory is read from /proc")
@pytest.mark.parametrize("side", ["im-bench", "transformers"])
def test_memory(side: str) -> None:
    assert set(measured("memory", "--side", side, "--tokens", "64", "--vocabularies", "512")) == {"bytes"}


@pytest.mark.parametrize("side", ["im-bench", "published"])
def test_training(shared: Path, side: str) -> None:
    options = ["--shared", str(shared), "--datasets", "dolly_3k", "--losses", "it", "--examples", "64"]
    assert measured("training", "--side", side, *options)["tokens_per_second"] > 0


@pytest.mark.parametrize("side", ["im-bench all", "published it"])
def test_preparing(shared: Path, side: str) -> None:
    options = ["--shared", str(shared), "--datasets", "dolly_3k", "--examples", "32"]
    assert set(measured("preparing", "--side", side, *options)) == {"seconds"}


def test_gpu_on_a_cpu() -> None:
    options = ["--device", "cpu", "--size", "tiny", "--micro-batch-tokens", "4096"]
    assert measured("gpu", "--side", "im packed", *options)["flops_per_second"] > 0


@pytest.mark.skipif(
    sys.platform != "linux", reason="the peak of a process's memory is counted otherwise elsewhere"
)
def test_advising(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"prompt": "Name a fruit.", "completion": "An apple."}\n')
    assert set(measured("advising", "--side", "im-bench", "--file", str(file))) == {"seconds", "peak MB"}


@pytest.mark.parametrize("side", ["pass", "engine alone", "engine and judge"])
def test_judging(shared: Path, side: str) -> None:
    options = ["--shared", str(shared), "--latency", "0", "--concurrency", "64"]
    assert set(measured("judging", "--side", side, *options)) == {"seconds"}
