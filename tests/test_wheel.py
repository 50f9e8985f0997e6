"""The installed package: conf/ and sweeps/ are in the wheel and are found from there."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from im_bench.composing import CONF, ROOT, SWEEPS

FOUND = """
from pathlib import Path
from im_bench import cli
from im_bench.composing import CONF, SWEEPS, compose_run, sweep_runs
print(Path(cli.__file__).parent, CONF, SWEEPS, sep="\\n")
compose_run("config", CONF, ["judge=overlap", "benchmark=[piqa]"])
assert len(sweep_runs("demo", SWEEPS, ["benchmark=[piqa]"])) == 6
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(folder),
        str(ROOT),
    ]
    subprocess.run(build, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return path


def test_the_wheel_has_every_file_of_conf_and_sweeps_in_the_package(wheel: Path) -> None:
    there = set(zipfile.ZipFile(wheel).namelist())
    for folder in (CONF, SWEEPS):
        here = {f"im_bench/{path.relative_to(ROOT).as_posix()}" for path in folder.rglob("*.yaml")}
        assert here and here <= there


def test_the_wheel_has_what_modules_read_beside_them_and_no_tests(wheel: Path) -> None:
    there = set(zipfile.ZipFile(wheel).namelist())
    package = ROOT / "im_bench"
    here = {
        f"im_bench/{path.relative_to(package).as_posix()}" for path in package.rglob("*") if path.is_file()
    }
    assert {name for name in here if "__pycache__" not in name} <= there
    assert not any(name.startswith("tests") for name in there)


def test_an_installed_package_finds_its_own_conf_and_sweeps_from_any_folder(
    wheel: Path, tmp_path: Path
) -> None:
    installed, elsewhere = tmp_path / "installed", tmp_path / "elsewhere"
    zipfile.ZipFile(wheel).extractall(installed)
    elsewhere.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", FOUND],
        cwd=elsewhere,
        env=os.environ | {"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=True,
    )
    package = installed / "im_bench"
    assert done.stdout.split() == [str(package), str(package / "conf"), str(package / "sweeps")]
