"""Processes of a sweep killed at random, over and over: what it comes to is what it comes to undisturbed."""

import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

FEW = ("dataset=toy_short", "loss=it,im", "seed=1", "benchmark=[piqa,toy_alpaca]", "limit=20")
MANY = ("dataset=toy_long,toy_short", "loss=it,im", "seed=1,2,3", "benchmark=[piqa,toy_alpaca]", "limit=20")
LONGEST = 1800
"""Seconds after which something hangs."""


def command(results: Path, cells: tuple[str, ...]) -> list[str]:
    own = [f"paths.results={results}", "runtime.threads=1", "runtime.save_steps=5", "train.epochs=2"]
    return [sys.executable, "-m", "im_bench", "sweep", "toy_seeds", *cells, "tracker=wandb", *own]


def role(process: psutil.Process, main: int) -> str:
    """What a process of the sweep is for, by the order in which the command starts its workers."""
    if process.pid == main:
        return "command"
    return "worker" if "spawn_main" in " ".join(process.cmdline()) else "helper"


def victims(main: int) -> list[psutil.Process]:
    """The command and all that it started, but for those that are dead or only wait for its end."""
    try:
        family = [psutil.Process(main), *psutil.Process(main).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
    return [each for each in family if does_something(each)]


def does_something(process: psutil.Process) -> bool:
    try:
        return "resource_tracker" not in " ".join(process.cmdline())
    except psutil.NoSuchProcess:  # nor does one that was killed and that nobody has asked for its end
        return False


class Chaos:
    """Runs a sweep, kills random processes of it, and starts it again until it is through."""

    def __init__(self, command: list[str], said: Path, kills: int) -> None:
        self.command, self.said, self.left, self.random = command, said, kills, random.Random(kills)
        self.killed: Counter[str] = Counter()
        self.codes: list[int] = []

    def through(self) -> None:
        deadline = time.monotonic() + LONGEST
        while not self.codes or self.codes[-1] != 0:
            assert time.monotonic() < deadline, f"killed {self.killed}, exit codes {self.codes}"
            with self.said.open("a") as said:
                process = subprocess.Popen(self.command, stdout=said, stderr=said)
                self._disturb(process)
                self.codes.append(process.wait())

    def _disturb(self, process: subprocess.Popen[bytes]) -> None:
        while self.left and process.poll() is None:
            try:
                process.wait(self.random.uniform(3, 15))
            except subprocess.TimeoutExpired:
                self._kill_one(process.pid)

    def _kill_one(self, main: int) -> None:
        for victim in self.random.sample(found := victims(main), len(found)):
            try:
                what = role(victim, main)
                victim.kill()
            except psutil.NoSuchProcess:
                continue
            self.killed[what] += 1
            self.left -= 1
            return


def written(results: Path, *places: str) -> dict[str, bytes]:
    return {place: (results / place).read_bytes() for place in places}


@pytest.mark.parametrize(
    ("cells", "kills"),
    [pytest.param(FEW, 3, marks=pytest.mark.slow), pytest.param(MANY, 20, marks=pytest.mark.nightly)],
    ids=["three", "twenty"],
)
def test_a_sweep_whose_processes_are_killed_comes_to_the_ledger_of_one_undisturbed(
    toy_base: Path, tmp_path: Path, cells: tuple[str, ...], kills: int
) -> None:
    # A base model is made in one go; what can be killed here is all that comes after.
    quiet, disturbed = (Path(shutil.copytree(toy_base, tmp_path / name)) for name in ("quiet", "disturbed"))
    subprocess.run(command(quiet, cells), check=True, capture_output=True, timeout=LONGEST)
    chaos = Chaos(command(disturbed, cells), tmp_path / "said.txt", kills)
    start = time.monotonic()
    chaos.through()
    print(
        f"\n{kills - chaos.left} processes killed in {time.monotonic() - start:.0f} s ({dict(chaos.killed)}); the "
        f"command was given {len(chaos.codes)} times, with exit codes {chaos.codes}"
    )
    assert chaos.left == 0
    places = ("scores.jsonl", "tables/toy_seeds.md", "tables/toy_seeds.csv", "tables/toy_seeds_benchmarks.md")
    assert written(disturbed, *places) == written(quiet, *places)
    for left in ("error.txt", "running.json"):
        assert not list((disturbed / "store").glob(f"*/*/{left}"))
