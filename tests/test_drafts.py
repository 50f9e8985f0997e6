"""A file that is written by rename."""

from pathlib import Path

import pytest

from im_bench.drafts import drafted


def test_a_draft_takes_the_place_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "table.md"
    file.write_text("old")
    with drafted(file) as draft:
        draft.write_text("new")
        assert file.read_text() == "old"
    assert file.read_text() == "new" and list(tmp_path.iterdir()) == [file]


def test_a_write_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "table.md"
    file.write_text("old")
    with pytest.raises(OSError, match="no room"), drafted(file) as draft:
        draft.write_text("ne")
        raise OSError("no room")
    assert file.read_text() == "old"
