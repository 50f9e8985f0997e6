"""External files: found, fetched whole or not at all, and known by their content."""

import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from im_bench import assets
from im_bench.assets import (
    ASSETS,
    benchmark_data_sha256,
    fetch,
    file_sha256,
    find_asset,
    folder_sha256,
    offline_unless_reachable,
)
from im_bench.composing import CONF
from im_bench.config import Dataset, UserError, load_yaml
from im_bench.data.published import dataset_file

HELLO = hashlib.sha256(b"hello").hexdigest()


def dataset(**values: object) -> Dataset:
    given = {"name": "mine", "source": "local", "format": "auto", "path": None} | values
    return Dataset.model_validate(given)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The address of a folder with the file `hello.txt`, on the loopback."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Nothing: a test's output is its own."""

    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "hello.txt").write_bytes(b"hello")
    server = HTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


# --- files by address ---


def test_a_file_is_fetched_once(tmp_path: Path, served: str) -> None:
    to = tmp_path / "cache/hello.txt"
    assert fetch(f"{served}/hello.txt", to, HELLO, remedy="").read_bytes() == b"hello"
    (tmp_path / "served/hello.txt").unlink()
    assert fetch(f"{served}/hello.txt", to, HELLO, remedy="") == to


def test_another_file_than_the_published_one_is_refused_with_both_hashes_and_not_kept(
    tmp_path: Path, served: str
) -> None:
    to = tmp_path / "cache/hello.txt"
    with pytest.raises(UserError) as error:
        fetch(f"{served}/hello.txt", to, "0" * 64, remedy="")
    assert f"sha256 is {HELLO}, but must be {'0' * 64}" in str(error.value)
    assert str(error.value).startswith(f"{served}/hello.txt: ")
    assert not to.exists()


def test_a_file_of_the_cache_that_was_changed_is_refused(tmp_path: Path) -> None:
    to = tmp_path / "hello.txt"
    to.write_bytes(b"hullo")
    with pytest.raises(UserError, match=f"hello.txt: sha256 is .*, but must be {HELLO}"):
        fetch("http://127.0.0.1:9/hello.txt", to, HELLO, remedy="")


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/x", "https://example.invalid/x"])
def test_an_address_that_cannot_be_reached_is_named_with_the_remedy(tmp_path: Path, address: str) -> None:
    with pytest.raises(UserError) as error:
        fetch(address, tmp_path / "x", None, remedy="dataset.path=FILE can serve it")
    assert str(error.value).startswith(f"{address}: could not be fetched (")
    assert str(error.value).endswith("Without network, dataset.path=FILE can serve it")
    assert not list(tmp_path.glob("x*"))


def test_a_file_that_is_not_at_its_address_is_named(tmp_path: Path, served: str) -> None:
    with pytest.raises(UserError, match=f"{served}/none.txt: could not be fetched .File not found."):
        fetch(f"{served}/none.txt", tmp_path / "x", None, remedy="")


# --- datasets ---


def test_a_local_copy_of_a_published_dataset_must_be_that_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"hello")
    copy = dataset(source="address", address="https://example.invalid/x", path=str(path), sha256=HELLO)
    assert dataset_file(copy, None, tmp_path) == path
    path.write_bytes(b"hullo")
    with pytest.raises(UserError, match=f"dataset.path={path}: sha256 is .*, but must be {HELLO}"):
        dataset_file(copy, None, tmp_path)


def test_a_file_whose_sha256_is_not_known_must_be_what_git_calls_it(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"hello")
    # As `git hash-object` names it.
    known = "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0"
    copy = dataset(source="address", address="https://example.invalid/x", path=str(path), git_blob=known)
    assert dataset_file(copy, None, tmp_path) == path
    path.write_bytes(b"hullo")
    with pytest.raises(
        UserError, match=f"dataset.path={path}: git names its content .*, but it must be {known}"
    ):
        dataset_file(copy, None, tmp_path)


def test_a_dataset_without_a_local_copy_is_fetched_into_the_cache(tmp_path: Path, served: str) -> None:
    published = dataset(source="address", address=f"{served}/hello.txt", sha256=HELLO)
    found = dataset_file(published, None, tmp_path)
    assert (found.name, found.read_bytes()) == ("hello.txt", b"hello")
    assert found.is_relative_to(tmp_path / "datasets")


class Cut(BaseHTTPRequestHandler):
    """Promises a hundred bytes and breaks off."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "100")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *_: object) -> None:
        pass


def test_what_breaks_off_or_is_another_file_is_not_kept(tmp_path: Path, served: str) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Cut) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        cut = dataset(source="address", address=f"http://127.0.0.1:{server.server_port}/x.jsonl")
        with pytest.raises(UserError, match="could not be fetched"):
            dataset_file(cut, None, tmp_path)
        server.shutdown()
    other = dataset(source="address", address=f"{served}/hello.txt", git_blob="0" * 40)
    with pytest.raises(UserError, match="it is not the file that was published"):
        dataset_file(other, None, tmp_path)
    with pytest.raises(UserError, match="could not be fetched"):
        dataset_file(dataset(source="address", address="nowhere/x.jsonl"), None, tmp_path)
    assert [path for path in (tmp_path / "datasets").rglob("*") if path.is_file()] == []


def test_two_addresses_with_one_file_name_are_two_files(tmp_path: Path, served: str) -> None:
    found = {
        dataset_file(dataset(source="address", address=f"{served}/{place}hello.txt"), None, tmp_path)
        for place in ("", "./")
    }
    assert len(found) == 2


def test_a_folder_of_copies_serves_what_it_has(tmp_path: Path, served: str) -> None:
    copies = tmp_path / "copies"
    copies.mkdir()
    published = dataset(source="address", address=f"{served}/hello.txt", sha256=HELLO)
    assert dataset_file(published, str(copies), tmp_path).is_relative_to(tmp_path / "datasets")
    (copies / "hello.txt").write_bytes(b"hello")
    assert dataset_file(published, str(copies), tmp_path) == copies / "hello.txt"
    (copies / "hello.txt").write_bytes(b"hullo")
    with pytest.raises(UserError, match="hello.txt: sha256 is .*, but must be"):
        dataset_file(published, str(copies), tmp_path)
    with pytest.raises(UserError, match="paths.datasets=.*nowhere: there is no such folder"):
        dataset_file(published, str(tmp_path / "nowhere"), tmp_path)


HUB = {"source": "hub", "id": "org/name", "format": "messages"}
MESSAGES = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]


def in_hub_layout(folder: Path, rows: list[dict[str, object]]) -> None:
    place = folder / "org/name"
    (place / "data").mkdir(parents=True, exist_ok=True)
    (place / "data/train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    front = "configs:\n- config_name: default\n  data_files:\n  - split: train\n    path: data/train.jsonl\n"
    (place / "README.md").write_text(f"---\n{front}---\n")


def test_a_hub_dataset_is_read_from_a_folder_in_hub_layout(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"messages": MESSAGES, "dataset": "b"},
        {"messages": MESSAGES, "dataset": "a"},
    ]
    in_hub_layout(tmp_path / "copies", rows)
    found = dataset_file(dataset(**HUB), str(tmp_path / "copies"), tmp_path / "cache")
    assert [json.loads(line) for line in found.read_text().splitlines()] == rows
    in_hub_layout(tmp_path / "copies", rows[:1])
    again = dataset_file(dataset(**HUB), str(tmp_path / "copies"), tmp_path / "cache")
    assert len(again.read_text().splitlines()) == 1


class Hub(BaseHTTPRequestHandler):
    """A hub with one dataset, which is gated."""

    def do_GET(self) -> None:
        self.send_response(403)
        self.send_header("X-Error-Code", "GatedRepo")
        self.send_header("X-Error-Message", "Access to dataset org/name is restricted.")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        pass


ASK = """
import sys
from pathlib import Path
from im_bench.data.published import dataset_file
from im_bench.config import Dataset, UserError
try:
    dataset_file(Dataset(name="mine", source="hub", id="org/name", format="messages"), None, Path(sys.argv[1]))
except UserError as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.parametrize("reachable", [True, False], ids=["gated", "out of reach"])
def test_a_hub_dataset_that_cannot_be_had_is_told_with_the_remedy(tmp_path: Path, reachable: bool) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as hub:
        Thread(target=hub.serve_forever, daemon=True).start()
        port = hub.server_port if reachable else 9
        online = {name: value for name, value in os.environ.items() if not name.endswith("_OFFLINE")}
        hub_at = {"HF_ENDPOINT": f"http://127.0.0.1:{port}", "HF_HOME": str(tmp_path / "home")}
        ask = [sys.executable, "-c", ASK, str(tmp_path / "cache")]
        said = subprocess.run(ask, env=online | hub_at, capture_output=True, text=True, timeout=120).stdout
        hub.shutdown()
    if reachable:
        assert "org/name is gated; ask for access on its page" in said and "hf auth login" in said, said
    else:
        assert "org/name could not be fetched" in said, said
    assert "dataset.path=FILE or paths.datasets=FOLDER can serve a local copy" in said


def test_real_training_sets_are_the_files_that_conf_describes(shared: Path) -> None:
    sizes = {}
    for path in (CONF / "dataset").glob("*.yaml"):
        values = load_yaml(path)
        copy = shared / "data/sft" / Path(values.get("address", "")).name
        if values["source"] == "address" and copy.is_file():
            found = dataset_file(Dataset.model_validate(values | {"path": str(copy)}), None, shared)
            sizes[path.stem] = (
                len(found.read_text(encoding="utf-8").strip().split("\n")),
                values["num_examples"],
            )
    assert sizes
    assert all(found == said for found, said in sizes.values()), sizes


# --- files of the judged benchmarks ---


@pytest.mark.parametrize("name", ASSETS)
def test_an_asset_is_found_in_a_folder_under_our_name_and_under_upstreams(tmp_path: Path, name: str) -> None:
    for number, pattern in enumerate(ASSETS[name].patterns):
        folder = tmp_path / str(number)
        path = folder / pattern.replace("*", "")
        path.parent.mkdir(parents=True)
        path.touch()
        assert find_asset(name, str(folder), tmp_path) == path


NOT_SHARED = {"alpaca_eval/df_gamed"}


@pytest.mark.parametrize("name", ASSETS)
def test_real_files_are_found_by_the_names_that_upstream_uses(shared: Path, name: str) -> None:
    if name in NOT_SHARED:
        pytest.skip(f"{name} is not among the real files")
    assert find_asset(name, str(shared / "data"), shared).stat().st_size > 0


def test_every_asset_has_a_hash_and_an_address_that_does_not_move() -> None:
    for name, asset in ASSETS.items():
        assert re.fullmatch(r"[0-9a-f]{64}", asset.sha256 or ""), name
        assert re.search(r"/[0-9a-f]{40}/", asset.address), name


def test_the_real_weights_of_length_control_are_the_published_file(shared: Path) -> None:
    path = find_asset("alpaca_eval/glm_weights", str(shared / "data"), shared)
    assert file_sha256(path) == ASSETS["alpaca_eval/glm_weights"].sha256


def test_a_folder_without_the_asset_is_named_with_the_file_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"paths.assets={tmp_path}: the folder lacks mt_bench/question.jsonl"):
        find_asset("mt_bench/question", str(tmp_path), tmp_path)
    with pytest.raises(UserError, match=f"paths.assets={tmp_path}/none: there is no such folder"):
        find_asset("mt_bench/question", f"{tmp_path}/none", tmp_path)


def test_without_a_folder_an_asset_is_what_was_fetched_and_must_be_the_published_file(tmp_path: Path) -> None:
    (tmp_path / "mt_bench").mkdir()
    (tmp_path / "mt_bench/question.jsonl").write_bytes(b"hello")
    with pytest.raises(
        UserError, match=f"sha256 is {HELLO}, but must be {ASSETS['mt_bench/question'].sha256}"
    ):
        find_asset("mt_bench/question", None, tmp_path)


# --- content ---


def test_a_hash_is_of_the_content_and_follows_it(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"hello")
    assert file_sha256(path) == HELLO
    path.write_bytes(b"hello, world")
    assert file_sha256(path) == hashlib.sha256(b"hello, world").hexdigest()


def test_a_folders_hash_is_of_names_and_contents_and_not_of_its_place(tmp_path: Path) -> None:
    (tmp_path / "here/sub").mkdir(parents=True)
    (tmp_path / "here/sub/a.txt").write_text("a")
    (tmp_path / "here/b.txt").write_text("b")
    shutil.copytree(tmp_path / "here", tmp_path / "there/deep")
    here = folder_sha256(tmp_path / "here")
    assert folder_sha256(tmp_path / "there/deep") == here
    (tmp_path / "there/deep/b.txt").rename(tmp_path / "there/deep/c.txt")
    assert folder_sha256(tmp_path / "there/deep") != here
    (tmp_path / "there/deep/c.txt").rename(tmp_path / "there/deep/b.txt")
    (tmp_path / "there/deep/b.txt").write_text("B")
    assert folder_sha256(tmp_path / "there/deep") != here


def test_benchmark_data_is_known_by_the_configs_it_uses(tmp_path: Path) -> None:
    for config in ("en", "fr"):
        (tmp_path / "org/texts" / config).mkdir(parents=True)
        (tmp_path / "org/texts" / config / "test.jsonl").write_text(config)
    english = benchmark_data_sha256("texts", ("org/texts:en",), str(tmp_path))
    both = benchmark_data_sha256("texts", ("org/texts:en,fr",), str(tmp_path))
    assert english != both
    (tmp_path / "org/texts/fr/test.jsonl").write_text("changed")
    assert benchmark_data_sha256("texts", ("org/texts:en",), str(tmp_path)) == english
    assert benchmark_data_sha256("texts", ("org/texts:en,fr",), str(tmp_path)) != both


def test_the_hubs_own_data_are_official_and_nothing_is_read() -> None:
    assert benchmark_data_sha256("texts", ("org/texts:en",), None) == "official"


def test_a_config_that_a_folder_lacks_is_named(tmp_path: Path) -> None:
    (tmp_path / "org/texts/en").mkdir(parents=True)
    with pytest.raises(UserError) as error:
        benchmark_data_sha256("texts", ("org/texts:en,fr",), str(tmp_path))
    assert str(error.value) == (
        f"benchmark=texts: paths.hub={tmp_path} has no data for it ({tmp_path}/org/texts/fr is missing); "
        "leave it out with ~benchmark.texts"
    )


# --- network ---


@pytest.fixture
def hub_environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(assets.os, "environ", dict(assets.os.environ))
    monkeypatch.delenv("HF_HUB_OFFLINE")
    return monkeypatch


def test_without_network_the_hubs_libraries_are_told_to_use_their_cache(
    hub_environment: pytest.MonkeyPatch,
) -> None:
    hub_environment.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    offline_unless_reachable()
    assert assets.os.environ["HF_HUB_OFFLINE"] == "1"


@pytest.mark.parametrize("page", ["hello.txt", "none.txt"])
def test_a_hub_that_answers_anything_is_reachable(
    hub_environment: pytest.MonkeyPatch, served: str, page: str
) -> None:
    hub_environment.setenv("HF_ENDPOINT", f"{served}/{page}")
    offline_unless_reachable()
    assert "HF_HUB_OFFLINE" not in assets.os.environ


def test_a_config_whose_files_the_readme_maps_elsewhere_is_there(tmp_path: Path) -> None:
    folder = tmp_path / "org/texts"
    (folder / "data").mkdir(parents=True)
    (folder / "README.md").write_text("---\nconfigs:\n- config_name: en\n  data_files: data/*.jsonl\n---\n")
    (folder / "data/a.jsonl").write_text("a")
    before = benchmark_data_sha256("texts", ("org/texts:en",), str(tmp_path))
    (folder / "data/a.jsonl").write_text("b")
    assert benchmark_data_sha256("texts", ("org/texts:en",), str(tmp_path)) != before
