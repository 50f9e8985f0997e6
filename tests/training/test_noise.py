"""NEFTune: the bound of each example's own length, and noise that knows no layout."""

import math

import pytest
import torch

from im_bench.data.batching import Segment
from im_bench.training.noise import noise, noisy

ALPHA = 5.0
SHORT, LONG = Segment(0, 0, 3, seed=1), Segment(1, 0, 50, seed=2)


def drawn(*segments, shape=(2, 50, 64)):
    return noise(torch.zeros(shape), segments, ALPHA)


def test_the_noise_is_bounded_by_alpha_over_the_root_of_each_example_s_own_length_times_the_width():
    both = drawn(SHORT, LONG)
    for row, length in ((0, 3), (1, 50)):
        bound = ALPHA / math.sqrt(length * 64)
        largest = both[row, :length].abs().max().item()
        assert 0.95 * bound < largest <= bound


def test_the_noise_is_uniform_around_zero():
    values = drawn(LONG)[1].flatten()
    bound = ALPHA / math.sqrt(50 * 64)
    assert values.mean().item() == pytest.approx(0, abs=0.05 * bound)
    assert values.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)


def test_padding_has_no_noise():
    assert drawn(SHORT, LONG)[0, 3:].abs().max() == 0


def test_an_example_has_the_same_noise_wherever_it_lies():
    packed = drawn(Segment(0, 50, 53, seed=1), Segment(0, 0, 50, seed=2), shape=(1, 53, 64))
    assert torch.equal(packed[0, 50:], drawn(SHORT, LONG)[0, :3])
    assert torch.equal(packed[0, :50], drawn(SHORT, LONG)[1])


def test_another_seed_draws_other_noise():
    assert not torch.equal(drawn(SHORT)[0, :3], drawn(SHORT._replace(seed=3))[0, :3])


def test_noise_is_on_the_embeddings_within_and_gone_after():
    embedding = torch.nn.Embedding(10, 64)
    ids_bt = torch.zeros((2, 50), dtype=torch.long)
    plain = embedding(ids_bt)
    with noisy(embedding, [SHORT, LONG], ALPHA):
        torch.testing.assert_close(embedding(ids_bt) - plain, drawn(SHORT, LONG), rtol=0, atol=1e-6)
    assert torch.equal(embedding(ids_bt), plain)
    with noisy(embedding, [SHORT, LONG], 0.0):
        assert torch.equal(embedding(ids_bt), plain)


def test_noise_draws_nothing_from_the_generator_of_everything_else():
    torch.manual_seed(0)
    drawn(SHORT, LONG)
    after = torch.rand(1)
    torch.manual_seed(0)
    assert torch.equal(torch.rand(1), after)
