"""Keys: what a step's identity is, and what is none of it."""

import pytest
from small_steps import step, write

from im_bench import config, identity
from im_bench.store import Step


def test_a_key_is_eight_hex_digits_of_the_identity():
    assert len(step().key) == 8
    assert int(step().key, 16) >= 0


@pytest.mark.parametrize(
    "other",
    [step(4), step(scale=2.0), step(version=2), step(kind="base"), step(needs=(step(4),))],
    ids=["config", "optional field", "version", "kind", "needs"],
)
def test_what_changes_the_outputs_changes_the_key(other):
    assert other.key != step().key


def test_how_and_where_a_step_runs_and_what_it_is_called_do_not_change_its_key():
    assert step(run=print, label="another").key == step().key


def test_a_field_that_holds_its_default_is_left_out_so_that_adding_one_keeps_old_keys():
    class Before(config.Frozen):
        size: int

    assert Step("train", Before(size=3), write).key == step(scale=1.0).key
    assert "scale" not in step(scale=1.0).identity["config"]


def test_a_key_follows_the_keys_of_what_it_needs_all_the_way():
    def chain(size):
        return step(needs=(step(needs=(step(size),)),))

    assert chain(1).key != chain(2).key
    assert chain(1).key == chain(1).key


def test_equal_numbers_have_one_key_however_they_are_written():
    loss = {"output_weight": 1.0, "template_weight": 0.0, "average": "example"}
    one, also_one = (identity.LossIdentity(prompt_weight=weight, **loss) for weight in (1, 1.0))
    assert Step("train", one, write).key == Step("train", also_one, write).key


def test_a_number_that_json_does_not_know_is_refused():
    with pytest.raises(ValueError, match="Out of range float"):
        _ = step(scale=float("inf")).key


# A change here orphans everybody's results: bump the step's version instead, and never edit these.
TRAIN = config.Train(
    epochs=2,
    global_batch=128,
    max_tokens=2048,
    learning_rate=2e-5,
    warmup_ratio=0.03,
    schedule="linear",
    weight_decay=0.0,
    beta1=0.9,
    beta2=0.999,
    epsilon=1e-8,
    max_grad_norm=0.0,
    precision="bf16",
)
HUB = identity.BaseIdentity(source="hub", template_sha256="aa", id="org/name", revision="1")
BASE = Step("base", HUB, write)
SOURCE = identity.SourceIdentity(sha256="bb", format="messages")


def trained(prompt_weight, size=None):
    loss = identity.LossIdentity(
        prompt_weight=prompt_weight, output_weight=1.0, template_weight=0.0, average="example"
    )
    subset = config.Subset(name="random" if size else "full", size=size)
    spec = identity.TrainIdentity(dataset=(SOURCE,), subset=subset, loss=loss, train=TRAIN, seed=0)
    return Step("train", spec, write, needs=(BASE,))


def scored(benchmark, limit=None):
    spec = identity.HarnessIdentity(
        benchmark=benchmark, benchmark_version=1, shots=10, limit=limit, data_sha256="official"
    )
    return Step("harness", spec, write, needs=(trained(1.0),))


ANSWERS = Step(
    "answers",
    identity.AnswersIdentity(
        questions="mt_bench", questions_sha256="cc", max_new_tokens=1024, limit=None, seed=0
    ),
    write,
    needs=(trained(1.0),),
)
VERDICTS = Step(
    "verdicts",
    identity.VerdictsIdentity(
        benchmark="mt_bench",
        benchmark_version=1,
        judge=identity.JudgeIdentity(kind="overlap", model="overlap", temperature=0.0),
        assets_sha256={"question": "cc"},
        seed=0,
    ),
    write,
    needs=(ANSWERS,),
)
LOSSES = Step(
    "analysis",
    identity.LossesIdentity(
        analysis="losses", heldout=(SOURCE,), examples=None, max_tokens=2048, precision="bf16"
    ),
    write,
    needs=(trained(1.0), BASE),
)
MEMORISATION = Step(
    "analysis",
    identity.MemorisationIdentity(analysis="memorisation", examples=None, max_new_tokens=8192),
    write,
    needs=(trained(1.0),),
)
GOLDEN = {
    "base": (BASE, "15c391f4"),
    "train it": (trained(0.0), "39f5b50f"),
    "train im": (trained(1.0), "949b43c6"),
    "train im on 100": (trained(1.0, 100), "bef3faa3"),
    "harness piqa": (scored("piqa"), "03ad29da"),
    "harness piqa of 10": (scored("piqa", 10), "ead33c97"),
    "answers": (ANSWERS, "3a70d416"),
    "verdicts": (VERDICTS, "4afae409"),
    "losses": (LOSSES, "f5f1006b"),
    "memorisation": (MEMORISATION, "05b9f494"),
}


@pytest.mark.parametrize("made, key", GOLDEN.values(), ids=GOLDEN)
def test_keys_are_those_of_results_on_other_people_s_disks(made, key):
    assert made.key == key
