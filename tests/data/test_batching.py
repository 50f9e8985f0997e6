"""Layouts of a step, denominators of the four averages, and the order of training, by hand."""

from collections import Counter
from itertools import product

import numpy as np
import pytest

from im_bench.data.batching import noise_seed, share, step_batch, step_order
from im_bench.data.weights import Example


def example(ids, weights, outputs):
    return Example(np.array(ids), np.array(weights, dtype=np.float32), outputs)


# Two examples: 3 prompt tokens and 1 of output; 1 prompt token and 2 of output; prompt weight 1/2.
FIRST = example([9, 1, 2, 3, 4], [0, 0.5, 0.5, 0.5, 1], outputs=1)
SECOND = example([9, 5, 6, 7], [0, 0.5, 1, 1], outputs=2)
SILENT = example([9, 8], [0, 0], outputs=0)


def weights_of(batch):
    """Weight of each token id, over all micro-batches."""
    return {
        id: weight
        for micro_batch in batch.micro_batches
        for ids, weights in zip(micro_batch.ids_bt.tolist(), micro_batch.weights_bt.tolist(), strict=True)
        for id, weight in zip(ids, weights, strict=True)
        if weight
    }


RAW = {1: 0.5, 2: 0.5, 3: 0.5, 4: 1, 5: 0.5, 6: 1, 7: 1}


@pytest.mark.parametrize("average, denominator", [("token", 5.0), ("nonzero", 7.0), ("output", 3.0)])
def test_three_averages_divide_the_weights_as_they_are(average, denominator):
    batch = step_batch([FIRST, SECOND, SILENT], average=average, max_tokens=100)
    assert batch.denominator == denominator
    assert weights_of(batch) == RAW


def test_the_example_average_gives_each_example_a_weight_of_one():
    batch = step_batch([FIRST, SECOND, SILENT], average="example", max_tokens=100)
    assert batch.denominator == 2
    assert weights_of(batch) == pytest.approx({1: 0.2, 2: 0.2, 3: 0.2, 4: 0.4, 5: 0.2, 6: 0.4, 7: 0.4})


def test_a_step_counts_its_tokens_and_those_that_carry_loss():
    batch = step_batch([FIRST, SECOND, SILENT], average="token", max_tokens=100)
    assert (batch.lengths, batch.supervised_tokens) == ([5, 4, 2], 7)


@pytest.mark.parametrize("average", ["example", "token", "nonzero", "output"])
def test_a_step_with_nothing_supervised_divides_by_no_zero(average):
    assert step_batch([SILENT], average=average, max_tokens=100).denominator > 0


def test_padding_is_on_the_right_masked_and_without_weight():
    (micro_batch,) = step_batch([FIRST, SECOND], average="token", max_tokens=100).micro_batches
    assert micro_batch.ids_bt.tolist() == [[9, 5, 6, 7, 0], [9, 1, 2, 3, 4]]
    assert micro_batch.mask_bt.tolist() == [[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]
    assert micro_batch.positions_bt.tolist() == [[0, 1, 2, 3, 4]] * 2
    assert [segment[:3] for segment in micro_batch.segments] == [(0, 0, 4), (1, 0, 5)]
    assert micro_batch.weights_bt.tolist() == [[0, 0.5, 1, 1, 0], [0, 0.5, 0.5, 0.5, 1]]


@pytest.mark.parametrize("max_tokens", [1, 4, 9, 10, 11, 100])
def test_a_micro_batch_keeps_to_its_tokens_and_loses_no_example(max_tokens):
    examples = [FIRST, SECOND, SILENT, FIRST, SECOND]
    shapes = [
        tuple(micro_batch.ids_bt.shape)
        for micro_batch in step_batch(examples, average="token", max_tokens=max_tokens).micro_batches
    ]
    assert sum(rows for rows, _ in shapes) == len(examples)
    assert all(rows * tokens <= max_tokens or rows == 1 for rows, tokens in shapes)


def test_packed_examples_lie_end_to_end_unpadded_and_each_begins_at_position_zero():
    batch = step_batch([FIRST, SECOND, SILENT], average="token", max_tokens=9, packed=True)
    first, second = batch.micro_batches
    assert first.ids_bt.tolist() == [[9, 1, 2, 3, 4, 9, 5, 6, 7]]
    assert first.positions_bt.tolist() == [[0, 1, 2, 3, 4, 0, 1, 2, 3]]
    assert first.weights_bt.tolist() == [[0, 0.5, 0.5, 0.5, 1, 0, 0.5, 1, 1]]
    assert [segment[:3] for segment in first.segments] == [(0, 0, 5), (0, 5, 9)]
    assert second.ids_bt.tolist() == [[9, 8]]
    assert first.mask_bt is second.mask_bt is None


@pytest.mark.parametrize("max_tokens", [1, 4, 9, 10, 11, 100])
def test_a_packed_row_keeps_to_its_tokens_and_loses_no_example(max_tokens):
    examples = [FIRST, SECOND, SILENT, FIRST, SECOND]
    batches = step_batch(examples, average="token", max_tokens=max_tokens, packed=True).micro_batches
    assert sum(len(batch.segments) for batch in batches) == len(examples)
    assert sum(batch.ids_bt.numel() for batch in batches) == 5 + 4 + 2 + 5 + 4
    assert all(batch.ids_bt.numel() <= max_tokens or len(batch.segments) == 1 for batch in batches)


@pytest.mark.parametrize("ranks", [1, 2, 3, 9])
def test_processes_share_a_step_evenly_and_each_micro_batch_goes_to_one(ranks):
    batches = step_batch([FIRST, SECOND, SILENT] * 5, average="token", max_tokens=1).micro_batches
    shares = [share(batches, rank=rank, ranks=ranks) for rank in range(ranks)]
    assert {len(mine) for mine in shares} == {-(-15 // ranks)}
    given = [id(batch) for mine in shares for batch in mine if batch.segments]
    assert sorted(given) == sorted(map(id, batches))
    tokens = [sum(batch.ids_bt.numel() for batch in mine) for mine in shares]
    assert max(tokens) - min(tokens) <= 5


def test_noise_has_a_seed_for_each_run_step_and_example():
    seeds = {noise_seed(*which) for which in product(range(3), range(4), range(5))}
    assert len(seeds) == 60
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_every_epoch_has_each_example_once_and_its_last_step_may_be_short():
    steps = step_order(10, global_batch=4, epochs=3, seed=0)
    assert [len(step) for step in steps] == [4, 4, 2] * 3
    for epoch in range(3):
        assert Counter(sum(steps[3 * epoch : 3 * epoch + 3], [])) == Counter(range(10))


def test_every_epoch_and_every_seed_has_its_own_order():
    first, second = step_order(10, global_batch=10, epochs=2, seed=0)
    assert first != second
    assert step_order(10, global_batch=10, epochs=2, seed=0) == [first, second]
    assert step_order(10, global_batch=10, epochs=2, seed=1) != [first, second]


def test_a_global_batch_larger_than_the_dataset_is_one_step_an_epoch():
    assert [len(step) for step in step_order(3, global_batch=128, epochs=2, seed=0)] == [3, 3]
