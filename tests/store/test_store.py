"""The store: outputs are made once, whole, gone on from where they were left, and dropped where that is asked."""

import errno
import json
import os
from dataclasses import replace

import pytest
from small_steps import step, write

from im_bench import store
from im_bench.config import UserError
from im_bench.store import RECORD, Store

# --- reuse and resume ---


def test_a_step_runs_once_after_those_it_needs(tmp_path):
    ran = []

    def run(out, *inputs):
        ran.append(out.name)
        write(out, *inputs)

    base = step(1, run, label="base")
    out = Store(tmp_path).ensure(step(2, run, needs=(base,), label="tuned"))
    assert Store(tmp_path).ensure(step(2, run, needs=(base,), label="tuned")) == out
    assert [name.split("-")[0] for name in ran] == ["base", "tuned"]
    assert (out / "result.txt").read_text() == "base+made"
    assert out == tmp_path / "train" / f"tuned-{step(2, needs=(base,)).key}"


def test_the_record_is_written_last_and_says_what_the_step_is_and_what_made_it(tmp_path):
    def run(out):
        assert not (out / RECORD).exists()
        assert not Store(tmp_path).done(step())

    out = Store(tmp_path).ensure(step(run=run))
    record = json.loads((out / RECORD).read_text())
    assert record["key"] == step().key
    assert record["identity"] == {
        "kind": "train",
        "version": 1,
        "config": {"size": 3},
        "needs": [],
    }
    assert record["made"]["packages"].keys() == set(store.PACKAGES)
    assert [path.name for path in out.iterdir()] == [RECORD]


def test_a_new_label_finds_the_old_folder(tmp_path):
    out = Store(tmp_path).ensure(step(label="old"))
    assert Store(tmp_path).ensure(step(label="new", run=None)) == out


def test_a_step_finds_its_own_leftovers(tmp_path):
    def half(out):
        (out / "part.txt").write_text("first ")
        raise KeyboardInterrupt

    def rest(out):
        (out / "result.txt").write_text((out / "part.txt").read_text() + "second")

    with pytest.raises(KeyboardInterrupt):
        Store(tmp_path).ensure(step(run=half))
    assert not Store(tmp_path).done(step())
    assert (Store(tmp_path).ensure(step(run=rest)) / "result.txt").read_text() == "first second"


DAMAGED = {"empty": "", "half": '{"key": ', "list": "[]", "bytes": b"\xff\xfe"}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_record_is_named_and_the_step_runs_again(tmp_path, content, caplog):
    record = Store(tmp_path).ensure(step()) / RECORD
    record.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert not Store(tmp_path).done(step())
    assert f"{record} is damaged" in caplog.text
    Store(tmp_path).ensure(step())
    assert Store(tmp_path).done(step())


def test_the_record_of_another_step_is_none(tmp_path, caplog):
    record = Store(tmp_path).ensure(step()) / RECORD
    record.write_text(record.read_text().replace('"size": 3', '"size": 4'))
    assert not Store(tmp_path).done(step())
    assert f"it does not describe train/label-{step().key}" in caplog.text


CUT = {"cut short": lambda file: file.write_text("ma"), "gone": lambda file: file.unlink()}


@pytest.mark.parametrize("harm", CUT.values(), ids=CUT)
def test_an_output_that_is_not_what_its_record_says_is_named_and_made_again(tmp_path, harm, caplog):
    harm(Store(tmp_path).ensure(step()) / "result.txt")
    assert not Store(tmp_path).done(step())
    assert "result.txt " in caplog.text
    assert "not 4): the step is not done, and is made again when it is needed" in caplog.text
    assert (Store(tmp_path).ensure(step()) / "result.txt").read_text() == "made"


def test_what_needs_a_damaged_step_starts_from_it_when_it_was_made_again(tmp_path):
    made, needing = step(4), step(needs=(step(4),))
    (Store(tmp_path).ensure(made) / "result.txt").write_text("")
    Store(tmp_path).ensure(needing)
    assert (Store(tmp_path).path(made) / "result.txt").read_text() == "made"


def test_a_record_of_another_version_is_told_with_the_version(tmp_path):
    record = Store(tmp_path).ensure(step()) / RECORD
    record.write_text(record.read_text().replace('"format": 2', '"format": 3'))
    with pytest.raises(UserError, match=r"im-bench [\d.]+ has written it \(record format 3\), and this is"):
        Store(tmp_path).done(step())


def test_a_record_of_the_same_format_is_taken_whatever_version_wrote_it(tmp_path, caplog):
    record = Store(tmp_path).ensure(step()) / RECORD
    written = json.loads(record.read_text())
    written["made"]["packages"] = {"im-bench": "99.9"}
    record.write_text(json.dumps(written))
    assert Store(tmp_path).done(step())
    assert "damaged" not in caplog.text


def test_a_record_holds_no_path_of_this_machine(tmp_path):
    record = Store(tmp_path).ensure(step()) / RECORD
    assert str(tmp_path) not in record.read_text()


def test_what_must_run_is_what_is_not_done_and_what_that_needs(tmp_path):
    first, second, third = step(1), step(2, needs=(step(1),)), step(3, needs=(step(1),))
    steps = [first, second, first, third]
    Store(tmp_path).ensure(second)
    assert [each.key for each in Store(tmp_path).missing(steps)] == [third.key]


# --- files that are dropped ---


def test_a_step_whose_files_were_dropped_is_done_and_runs_again_only_when_they_are_needed(tmp_path):
    store, needing = Store(tmp_path), step(needs=(step(4),))
    out = store.ensure(step(4))
    store.drop(step(4), [out / "result.txt"])
    assert not (out / "result.txt").exists()
    assert store.done(step(4)) and not store.whole(step(4))
    assert store.missing([step(4)]) == []
    assert [each.key for each in store.missing([step(4), needing])] == [step(4).key, needing.key]
    store.ensure(needing)
    assert store.whole(step(4)) and (out / "result.txt").exists()


def test_what_was_dropped_and_is_not_read_has_nothing_run_again(tmp_path):
    store = Store(tmp_path)
    out = store.ensure(step(4))
    store.drop(step(4), [out / "result.txt"])
    other = replace(step(needs=(step(4),)), reads=lambda name: name != "result.txt")
    assert [each.key for each in store.missing([step(4), other])] == [other.key]
    store.ensure(other)
    assert not store.whole(step(4))


def test_a_step_whose_files_were_dropped_is_made_whole_where_that_is_asked(tmp_path):
    store = Store(tmp_path)
    out = store.ensure(step())
    store.drop(step(), [out / "result.txt"])
    assert store.ensure(step(run=None)) == out and not store.whole(step())
    assert store.ensure(step(), whole=True) == out and store.whole(step())
    store.ensure(step(run=None), whole=True)


def test_a_kill_amid_dropping_leaves_a_step_that_is_done_and_not_whole(tmp_path, monkeypatch):
    store = Store(tmp_path)
    out = store.ensure(step())

    def die(path, missing_ok):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("pathlib.Path.unlink", die)
        store.drop(step(), [out / "result.txt"])
    assert (out / "result.txt").exists()
    assert store.done(step()) and not store.whole(step()) and not store.locked(step())
    store.drop(step(), [out / "result.txt"])
    assert not (out / "result.txt").exists()
    store.ensure(step(), whole=True)
    assert store.whole(step()) and json.loads((out / RECORD).read_text())["dropped"] == []


def test_files_are_dropped_beside_others_that_were_and_of_a_step_that_is_done_only(tmp_path):
    def two(out):
        for name in "ab":
            (out / name).touch()

    store = Store(tmp_path)
    out = store.ensure(step(run=two))
    for name in "ab":
        store.drop(step(), [out / name])
    assert json.loads((out / RECORD).read_text())["dropped"] == ["a", "b"]
    store.drop(step(), [])
    (store.path(step(4))).mkdir()
    (store.path(step(4)) / "result.txt").touch()
    store.drop(step(4), [store.path(step(4)) / "result.txt"])
    assert (store.path(step(4)) / "result.txt").exists()


def test_a_file_that_is_gone_and_was_not_dropped_is_damage(tmp_path):
    def two(out):
        for name in "ab":
            (out / name).touch()

    store = Store(tmp_path)
    out = store.ensure(step(run=two))
    store.drop(step(), [out / "a"])
    (out / "b").unlink()
    assert not store.done(step())


# --- file systems ---


def test_locks_that_work_pass(tmp_path):
    Store(tmp_path / "new").check_locks()
    assert list((tmp_path / "new").iterdir()) == []


def no_locks(file, how):
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


@pytest.mark.parametrize(
    ("flock", "said"),
    [(no_locks, "No locks available"), (lambda file, how: None, "two processes could hold one lock")],
    ids=["there are none", "they keep nobody out"],
)
def test_a_file_system_without_locks_is_refused(tmp_path, monkeypatch, flock, said):
    monkeypatch.setattr(store.fcntl, "flock", flock)
    with pytest.raises(UserError, match=f"no working locks .*{said}.*paths.results=FOLDER"):
        Store(tmp_path).check_locks()
