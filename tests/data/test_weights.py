"""Weights of parts under every dial, by hand."""

import numpy as np
import pytest

from im_bench.composing import CONF, compose_run
from im_bench.data.encoding import Encoded
from im_bench.data.released import markers, unmarked
from im_bench.data.weights import weigh
from im_bench.identity import LossIdentity
from im_bench.pipeline import loss_identity

IT = {"prompt_weight": 0, "output_weight": 1, "template_weight": 0, "average": "example"}
NAMES = sorted(path.stem for path in (CONF / "loss").glob("*.yaml"))


def encoded(parts, turns=None, strays=()):
    stray = np.zeros(len(parts), dtype=bool)
    stray[list(strays)] = True
    return Encoded(
        row=0,
        ids_t=np.arange(100, 100 + len(parts)),
        parts_t=np.array(parts, dtype=np.int8),
        turns_t=np.array(turns or [0] * len(parts), dtype=np.int16),
        strays_t=stray,
        truncated=False,
    )


# BOS, marker, system, marker, two of instruction, marker, three of output, end, newline.
ONE = encoded([0, 0, 1, 0, 2, 2, 0, 3, 3, 3, 4, 0], [0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 2, 2], strays=[11])
# Two turns of each: instruction, output, end; and again.
TWO = encoded([0, 2, 3, 4, 2, 3, 3, 4], [0, 0, 1, 1, 2, 3, 3, 3])


def weights(encoded, **dials):
    return weigh(encoded, LossIdentity(**IT | dials)).weights_t.tolist()


def test_it_counts_outputs_and_their_ends():
    assert weights(ONE) == [0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 0]


def test_im_counts_instructions_and_system_turns_too():
    assert weights(ONE, prompt_weight=1) == [0, 0, 1, 0, 1, 1, 0, 1, 1, 1, 1, 0]


def test_full_counts_every_token_but_the_first_which_nothing_predicts():
    assert weights(ONE, prompt_weight=1, template_weight=1) == [0, *[1] * 11]


def test_between_it_and_im_the_prompt_has_a_part_of_the_weight():
    assert weights(ONE, prompt_weight=0.5) == [0, 0, 0.5, 0, 0.5, 0.5, 0, 1, 1, 1, 1, 0]


def test_a_conversation_without_an_output_has_no_last_turn():
    assert weights(encoded([0, 2, 2]), turns="last", prompt_weight=1) == [0, 1, 1]


def test_outputs_are_counted_with_their_ends_whatever_their_weight():
    assert weigh(ONE, LossIdentity(**IT)).outputs == 4
    assert weigh(ONE, LossIdentity(**IT | {"prompt_weight": 1})).outputs == 4


def test_the_last_turn_is_the_last_output_and_prompts_keep_their_weight():
    assert weights(TWO, turns="last") == [0, 0, 0, 0, 0, 1, 1, 1]
    assert weights(TWO, turns="last", prompt_weight=1) == [0, 1, 0, 0, 1, 1, 1, 1]


def test_the_last_turn_of_a_truncated_conversation_is_the_last_output_that_is_left():
    cut = encoded([0, 2, 3, 4, 2], [0, 0, 1, 1, 2])
    assert weights(cut, turns="last") == [0, 0, 1, 1, 0]


@pytest.mark.parametrize("least, counts", [(2, True), (3, True), (4, False)])
def test_a_prompt_counts_where_it_has_so_many_tokens(least, counts):
    found = weights(ONE, prompt_weight=1, prompt_min_tokens=least)
    assert found == weights(ONE, prompt_weight=float(counts))


@pytest.mark.parametrize("least, counts", [(0.9, True), (1.0, True), (1.1, False)])
def test_a_prompt_counts_where_it_is_so_long_beside_its_output(least, counts):
    """Three tokens of system and instruction to three of output, its end not counted."""
    found = weights(ONE, prompt_weight=1, prompt_min_ratio=least)
    assert found == weights(ONE, prompt_weight=float(counts))


def test_the_published_it_adds_the_strays():
    assert weights(ONE, labels="released_it") == [0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1]


# --- the published IM ---


def test_the_published_im_takes_out_exact_matches_and_nothing_else():
    ids = np.array([1, 5, 6, 9, 5, 6, 5, 7, 1, 5])
    assert unmarked(ids, ((5, 6), (1, 5, 6))).tolist() == [False] * 3 + [True, False, False] + [True] * 4
    assert unmarked(ids, ()).all() and unmarked(ids[:1], ((5, 6),)).all()


def test_overlapping_matches_are_all_taken_out():
    assert unmarked(np.array([5, 5, 5, 7]), ((5, 5),)).tolist() == [False, False, False, True]


def test_with_a_bos_each_marker_begins_with_it_so_that_only_the_text_s_start_can_match(tokenizer):
    assert all(marker[0] == tokenizer.bos_token_id for marker in markers(tokenizer))
    ids = np.array(tokenizer("<|user|>\nHi wa\n<|assistant|>\nHo</s>\n<|user|>\nHe")["input_ids"])
    opening = len(tokenizer("<|user|>\n")["input_ids"])
    assert unmarked(ids, markers(tokenizer)).tolist() == [place >= opening for place in range(len(ids))]


def test_without_a_bos_user_markers_are_taken_out_everywhere_and_assistants_never(tokenizer):
    plain = [tuple(marker[1:]) for marker in markers(tokenizer)]
    text = "<|user|>\nHi\n<|assistant|>\nHo\n<|user|>\nHe wa\n."
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    left = tokenizer.decode(np.array(ids)[unmarked(np.array(ids), plain)])
    assert left == "Hi\n<|assistant|>\nHo\nHe ."


# --- the named losses ---


def named(name, *overrides):
    chosen = ["model=toy", "dataset=toy_long", "experiment=toy", f"loss={name}"]
    return loss_identity(compose_run("config", CONF, [*chosen, *overrides]).loss)


def test_every_loss_of_the_design_has_its_file():
    assert set(NAMES) == {
        *(
            "none",
            "it",
            "im",
            "full",
            "plw",
            "wit",
            "length_gated",
            "last_turn",
            "neftune",
            "im_neftune",
            "kl",
        ),
        *("it_released", "im_released", "kl_released"),
    }


def test_plw_of_zero_is_it_and_plw_of_one_is_im():
    assert named("plw", "loss.prompt_weight=0") == named("it")
    assert named("plw", "loss.prompt_weight=1") == named("im")


def test_full_is_wit_of_one_and_one_under_nonzero():
    assert named("wit", "loss.prompt_weight=1", "loss.output_weight=1") == named(
        "full", "loss.average=nonzero"
    )


def test_losses_differ_only_where_their_names_say():
    it, im = named("it"), named("im")
    assert named("neftune") == it.model_copy(update={"neftune_alpha": 5.0})
    assert named("im_neftune") == im.model_copy(update={"neftune_alpha": 5.0})
    assert named("kl") == it.model_copy(update={"kl_weight": 1.0})
    assert named("kl_released") == named("it_released").model_copy(update={"kl_weight": 1.0, "kl": "target"})
    assert named("last_turn") == it.model_copy(update={"turns": "last"})
    assert named("length_gated") == im.model_copy(update={"prompt_min_ratio": 1.0})


def test_losses_compose_without_a_name_of_their_own():
    both = named("im_neftune", "loss.name=im_neftune_kl", "loss.kl_weight=0.1")
    assert (both.prompt_weight, both.neftune_alpha, both.kl_weight) == (1.0, 5.0, 0.1)


def test_the_identities_of_it_and_im_are_those_of_before_there_were_other_dials():
    for name, weight in (("it", 0.0), ("im", 1.0)):
        dumped = named(name).model_dump(exclude_defaults=True)
        assert dumped == {**IT, "prompt_weight": weight}


def test_every_average_is_open_to_every_loss():
    for name in set(NAMES) - {"none"}:
        for average in ("example", "token", "nonzero", "output"):
            assert named(name, f"loss.average={average}").average == average
