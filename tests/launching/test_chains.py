"""The work of a sweep in its order: each step once, and none before what it needs."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from im_bench.composing import CONF, compose_run
from im_bench.config import Run
from im_bench.launching.chains import CellPlan, Chain, chains_of, needs_of, phases_of
from im_bench.pipeline import plan as planned
from im_bench.stages import KINDS
from im_bench.store import Step
from im_bench.work import Planned


class Named(BaseModel):
    name: str


def step(kind: str, name: str, *needs: Step) -> Step:
    return Step(kind, Named(name=name), lambda out, *inputs: None, needs=needs, label=name)


RUN = compose_run("config", CONF, ["experiment=toy"])


def plan() -> Planned:
    raise AssertionError("nothing is planned again here")


def planning(*steps: Step, run: Run = RUN) -> CellPlan:
    """A cell of these steps and what they need."""
    found: dict[str, Step] = {}

    def add(step: Step) -> None:
        for need in step.needs:
            add(need)
        found[step.key] = step

    for each in steps:
        add(each)
    return CellPlan(run, plan, list(found.values()))


def labels(found: Sequence[Chain]) -> list[list[str]]:
    return [[step.label for step in chain.steps] for chain in found]


def all_of(cells: Sequence[CellPlan]) -> list[Step]:
    return list({step.key: step for cell in cells for step in cell.steps}.values())


BASE = step("base", "base")


def trained(name: str) -> Step:
    return step("train", name, BASE)


def benchmarked(name: str) -> CellPlan:
    """A training with one benchmark of each kind."""
    checkpoint = trained(name)
    answers = step("answers", f"{name} answers", checkpoint)
    return planning(
        step("harness", f"{name} piqa", checkpoint), step("verdicts", f"{name} verdicts", answers)
    )


# --- chains ---


def test_what_cells_share_comes_before_and_the_rest_is_a_chain_for_each():
    cells = [benchmarked("it"), benchmarked("im")]
    assert labels(chains_of("small", cells, all_of(cells))) == [
        ["base"],
        *([f"{loss}{what}" for what in ("", " piqa", " answers", " verdicts")] for loss in ("it", "im")),
    ]


def test_a_single_cell_is_one_chain():
    cell = benchmarked("it")
    assert labels(chains_of("small", [cell], cell.steps)) == [
        ["base", "it", "it piqa", "it answers", "it verdicts"]
    ]


def test_a_checkpoint_under_two_judges_is_trained_and_answers_once():
    answers = step("answers", "answers", trained("it"))
    cells = [planning(step("verdicts", judge, answers)) for judge in ("strict", "mild")]
    assert labels(chains_of("small", cells, all_of(cells))) == [
        ["base"],
        ["it"],
        ["answers"],
        ["strict"],
        ["mild"],
    ]


def epochs_of(*names: str) -> list[CellPlan]:
    """Two epochs of each training, the first of all before the second of any."""
    return [
        planning(step("harness", f"{name} epoch {epoch}", trained(name)))
        for epoch in (1, 2)
        for name in names
    ]


def test_the_cells_of_one_training_are_done_before_the_next_is_trained():
    cells = epochs_of("it", "im")
    found = chains_of("small", cells, all_of(cells))
    assert labels(found) == [
        ["base"],
        ["it"],
        ["it epoch 1"],
        ["it epoch 2"],
        ["im"],
        ["im epoch 1"],
        ["im epoch 2"],
    ]


def test_what_is_done_is_in_no_chain_and_a_cell_that_is_done_has_none():
    cells = [benchmarked("it"), benchmarked("im")]
    todo = [each for each in cells[1].steps if each.kind in ("answers", "verdicts")]
    assert labels(chains_of("small", cells, todo)) == [["im answers", "im verdicts"]]
    assert chains_of("small", cells, []) == []


def test_equal_cells_are_done_once():
    cells = [benchmarked("it"), benchmarked("it")]
    found = [step for chain in chains_of("small", cells, all_of(cells)) for step in chain.steps]
    assert sorted(step.label for step in found) == sorted(step.label for step in cells[0].steps)


def test_a_chain_is_of_the_first_cell_that_has_its_steps():
    runs = [RUN.model_copy(update={"seed": seed}) for seed in (1, 2)]
    cells = [planning(step("harness", f"{run.seed}", BASE), run=run) for run in runs]
    found = chains_of("small", cells, all_of(cells))
    assert [chain.run.seed for chain in found] == [1, 1, 2]


def test_a_job_is_the_keys_of_its_steps_and_what_plans_them():
    [chain] = chains_of("small", [planning(BASE)], [BASE])
    job = chain.job(chain.steps)
    assert (job.sweep, job.run, job.plan, job.keys) == ("small", RUN, plan, (BASE.key,))


def test_a_chain_waits_for_those_that_make_what_it_needs_and_for_no_others():
    cells = epochs_of("it", "im")
    found = needs_of(chains_of("small", cells, all_of(cells)))
    assert [(labels([chain]), labels(list(needs))) for chain, needs in found.items()] == [
        ([["base"]], []),
        ([["it"]], [["base"]]),
        ([["it epoch 1"]], [["it"]]),
        ([["it epoch 2"]], [["it"]]),
        ([["im"]], [["base"]]),
        ([["im epoch 1"]], [["im"]]),
        ([["im epoch 2"]], [["im"]]),
    ]


def test_phases_are_as_few_as_can_be():
    cells = epochs_of("it", "im")
    found = phases_of(chains_of("small", cells, all_of(cells)))
    assert [labels(phase) for phase in found] == [
        [["base"]],
        [["it"], ["im"]],
        [["it epoch 1"], ["it epoch 2"], ["im epoch 1"], ["im epoch 2"]],
    ]


# --- as a property ---


@st.composite
def sweeps(draw: st.DrawFn) -> list[CellPlan]:
    """Cells that share what cells may: bases, checkpoints, benchmarks, answers and verdicts, in any mixture."""
    few = st.integers(0, 2)

    def cell() -> CellPlan:
        checkpoint = step("base", f"base {draw(few)}")
        if draw(st.booleans()):
            checkpoint = step("train", f"train {draw(few)}", checkpoint)
        steps = [checkpoint]
        for number in draw(st.lists(few, max_size=3)):
            kind = draw(st.sampled_from(("harness", "humaneval", "verdicts")))
            if kind == "verdicts":
                answers = step("answers", f"answers {number}", checkpoint)
                steps.append(step("verdicts", f"verdicts {draw(few)}", answers))
            else:
                steps.append(step(kind, f"{kind} {number}", checkpoint))
        return planning(*steps)

    return [cell() for _ in range(draw(st.integers(1, 5)))]


@st.composite
def begun(draw: st.DrawFn) -> tuple[list[CellPlan], list[Step]]:
    """Cells, and which steps are to do; what needs one that is to do may be done, as when weights were dropped."""
    cells = draw(sweeps())
    steps = all_of(cells)
    return cells, draw(st.lists(st.sampled_from(steps), unique_by=lambda step: step.key))


@given(begun())
def test_each_step_to_do_is_done_once_and_not_before_what_it_needs(case):
    cells, todo = case
    keys = {step.key for step in todo}
    found = chains_of("small", cells, todo)
    assert Counter(step.key for chain in found for step in chain.steps) == Counter(keys)
    assert all(chain.steps for chain in found)
    earlier: set[str] = set()
    for chain in found:
        for each in chain.steps:
            assert all(need.key in earlier or need.key not in keys for need in each.needs)
            earlier.add(each.key)


@given(begun())
def test_phases_are_all_chains_each_after_those_it_needs(case):
    found = chains_of("small", *case)
    needs, earlier = needs_of(found), set[Chain]()
    for phase in phases_of(found):
        assert all(needs[chain] <= earlier for chain in phase)
        earlier |= set(phase)
    assert earlier == set(found)


@given(begun())
def test_a_chain_can_be_planned_again_by_its_own_cell(case):
    cells, todo = case
    runs = [RUN.model_copy(update={"seed": number}) for number in range(len(cells))]
    cells = [cell._replace(run=run) for cell, run in zip(cells, runs, strict=True)]
    for chain in chains_of("small", cells, todo):
        own = {step.key for step in cells[chain.run.seed].steps}
        assert {step.key for step in chain.steps} <= own


@given(begun())
def test_stages_are_all_steps_of_a_chain_in_the_order_of_their_needs(case):
    for chain in chains_of("small", *case):
        found = chain.stages()
        names = [name for name, _ in found]
        assert names == [name for name in ("train", "score", "judge") if name in names]
        steps = [step for _, steps in found for step in steps]
        assert Counter(step.key for step in steps) == Counter(step.key for step in chain.steps)
        assert all({KINDS[step.kind] for step in steps} == {name} for name, steps in found)
        places = {step.key: place for place, step in enumerate(steps)}
        assert all(
            places[need.key] < places[step.key] for step in steps for need in step.needs if need.key in places
        )


# --- stages ---


def test_a_cell_is_a_training_then_its_benchmarks_then_verdicts():
    it = trained("it")
    mt_bench, alpaca_eval = (step("answers", name, it) for name in ("mt_bench", "alpaca_eval"))
    cell = planning(
        step("verdicts", "of mt_bench", mt_bench),
        step("harness", "piqa", it),
        step("verdicts", "of alpaca_eval", alpaca_eval),
    )
    [chain] = chains_of("small", [cell], cell.steps)
    assert [(name, [step.label for step in steps]) for name, steps in chain.stages()] == [
        ("train", ["base", "it"]),
        ("score", ["mt_bench", "piqa", "alpaca_eval"]),
        ("judge", ["of mt_bench", "of alpaca_eval"]),
    ]


def test_every_kind_of_step_that_a_cell_has_is_known_in_the_order_of_their_needs(tmp_path: Path):
    cell = planned(
        compose_run("config", CONF, ["experiment=toy", "analysis=[toy]", f"paths.results={tmp_path}"])
    )
    kinds = list(KINDS)
    assert {step.kind for step in cell.steps()} == set(kinds) - {"given"}
    for each in cell.steps():
        assert all(kinds.index(need.kind) < kinds.index(each.kind) for need in each.needs)
