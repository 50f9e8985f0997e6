"""What is read of the files of a dataset: fractions, sources, skipped rows, counts."""

import json

import pytest

from im_bench.config import Subset, UserError
from im_bench.data.sources import Source, read_sources
from im_bench.data.subsets import select
from im_bench.identity import SourceIdentity


@pytest.fixture
def source(tmp_path):
    def make(rows, name="rows", num_examples=None, **spec):
        file = tmp_path / f"{name}.jsonl"
        file.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
        identity = SourceIdentity(sha256="", format="prompt_completion", **spec)
        return Source(name=name, file=file, spec=identity, num_examples=num_examples)

    return make


def rows(count, **more):
    return [{"prompt": f"Question {number}", "completion": "Yes."} | more for number in range(count)]


def prompts(found):
    return [one.turns[0].content for one in found.conversations]


def test_a_mixture_is_a_fraction_of_each_part(source):
    found = read_sources([source(rows(100), "a", fraction=0.25), source(rows(10), "b")], seed=0)
    assert [
        len([one for one in found.conversations if one.file.endswith(f"{name}.jsonl")]) for name in "ab"
    ] == [25, 10]


def test_what_is_taken_of_a_part_does_not_depend_on_the_others(source):
    part = source(rows(100), "a", fraction=0.25)
    alone = prompts(read_sources([part], seed=0))
    mixed = prompts(read_sources([source(rows(7), "b", fraction=0.5), part], seed=0))
    assert mixed[-25:] == alone
    assert prompts(read_sources([part], seed=1)) != alone


def test_what_a_fraction_leaves_is_as_likely_as_the_rest_to_be_in_a_subset(source):
    """Had the two one draw, a subset would be of what the fraction took last."""
    parts = [
        source(rows(1000), "a", fraction=0.1),
        source([row | {"prompt": "B " + row["prompt"]} for row in rows(100)], "b"),
    ]
    pool = read_sources(parts, seed=0).conversations
    chosen = select(pool, Subset(name="random", size=100), seed=0)
    # A hypergeometric draw of 100 from 100 and 100 has a standard deviation of 3.5.
    assert abs(sum(one.turns[0].content.startswith("B") for one in chosen) - 50) < 5 * 3.5


def test_a_part_that_rounds_to_nothing_is_refused(source):
    with pytest.raises(UserError, match=r"dataset.fraction=0.01: none of the 40 conversations"):
        read_sources([source(rows(40), fraction=0.01)], seed=0)


def test_a_smaller_fraction_is_inside_a_larger(source):
    small, large = (
        prompts(read_sources([source(rows(100), fraction=share)], seed=3)) for share in (0.1, 0.4)
    )
    assert set(small) < set(large)


def test_a_fraction_is_of_every_source_that_rows_name(source):
    both = rows(90, origin="web") + rows(10, origin="book")
    found = read_sources([source(both, fraction=0.2, source_field="origin")], seed=0)
    assert [one.stratum for one in found.conversations].count("book") == 2
    assert len(found.conversations) == 20


def test_only_the_named_sources_are_read(source):
    both = rows(3, origin="web") + rows(2, origin="book") + rows(4, origin="film")
    found = read_sources([source(both, source_field="origin", only=("book", "film"))], seed=0)
    assert [one.stratum for one in found.conversations] == ["book"] * 2 + ["film"] * 4


def test_a_bad_row_stops_the_run_and_says_how_to_go_on(source):
    with pytest.raises(UserError) as error:
        read_sources([source([*rows(2), '{"prompt": "a"}'])], seed=0)
    assert "row 2 (line 3): fields ['prompt'] fit no format" in str(error.value)
    assert str(error.value).endswith("; dataset.on_bad_row=skip leaves such rows out")


def test_a_bad_row_is_skipped_where_that_is_asked_and_told(source):
    found = read_sources([source([*rows(2), '{"prompt": "a"}', "{", *rows(1)], on_bad_row="skip")], seed=0)
    assert [one.row for one in found.conversations] == [0, 1, 4]
    assert [bad.row for bad in found.skipped] == [2, 3]


def test_a_bad_row_of_a_source_that_is_not_read_does_not_matter(source):
    bad = {"prompt": "", "completion": "x", "origin": "web"}
    found = read_sources(
        [source([bad, *rows(2, origin="book")], source_field="origin", only=("book",))], seed=0
    )
    assert len(found.conversations) == 2


def test_a_file_of_another_length_than_published_is_refused(source):
    with pytest.raises(UserError, match=r"3 rows, but rows has 4 \(dataset.num_examples\)"):
        read_sources([source(rows(3), num_examples=4)], seed=0)
    assert (
        len(read_sources([source([*rows(3), "{"], num_examples=4, on_bad_row="skip")], seed=0).conversations)
        == 3
    )


def test_a_file_without_any_conversation_is_refused(source):
    with pytest.raises(UserError, match=r"no row of it is a conversation \(2 were skipped\)"):
        read_sources([source(["{", "{"], on_bad_row="skip")], seed=0)


def test_a_bad_row_whose_source_is_not_known_is_a_bad_row(source):
    both = ["{", *rows(2, origin="book")]
    with pytest.raises(UserError, match=r"row 0 \(line 1\): not JSON"):
        read_sources([source(both, source_field="origin", only=("book",))], seed=0)


def test_a_source_that_is_nowhere_is_told_beside_those_that_are(source):
    with pytest.raises(UserError, match=r"dataset.only=\['wbe'\]: `origin` is nowhere that, but book, web"):
        read_sources(
            [source(rows(1, origin="web") + rows(1, origin="book"), source_field="origin", only=("wbe",))],
            seed=0,
        )


def test_a_row_without_the_field_of_its_source_is_named(source):
    with pytest.raises(UserError, match=r"row 1 \(line 2\): `origin` is missing"):
        read_sources([source([*rows(1, origin="web"), *rows(1)], source_field="origin")], seed=0)
