"""Counts of operations, worked by hand."""

import pytest

from im_bench.training.flops import Size, forward_flops, training_flops

SIZE = Size(block_parameters=1000, projection_parameters=500, layers=2, attention_width=8)


def test_a_forward_pass_is_two_for_each_parameter_and_token_and_the_pairs_of_attention():
    # 2 * 1000 * (3 + 5) + 2 * 2 * 8 * (9 + 25) + 2 * 500 * 4
    assert forward_flops(SIZE, [3, 5], projected=4) == 16000 + 1088 + 4000


def test_only_tokens_that_carry_loss_are_projected_on_the_vocabulary():
    it, im = forward_flops(SIZE, [8], projected=1), forward_flops(SIZE, [8], projected=7)
    assert im - it == 6 * 2 * 500


@pytest.mark.parametrize("frozen, base, passes", [(False, False, 3), (True, False, 2), (False, True, 4)])
def test_a_backward_pass_is_two_forward_ones_and_half_of_that_where_weights_are_frozen(frozen, base, passes):
    once = forward_flops(SIZE, [8], projected=3)
    assert training_flops(SIZE, [8], 3, frozen=frozen, base=base) == passes * once


def test_the_size_of_a_llama_is_that_of_its_blocks(model):
    size = Size.of(model)
    # Width 32: queries and outputs 32 x 32, keys and values 32 x 16, three of 32 x 64, two norms; and a last norm.
    assert size.block_parameters == 2 * (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 64 + 2 * 32) + 32
    assert size.projection_parameters == 32 * 320
    assert (size.layers, size.attention_width) == (2, 32)
