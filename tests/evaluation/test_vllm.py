"""lm-eval's model of vLLM and ours, on a stand-in with vLLM's interface: the same answers as in process."""

import importlib
import sys
from pathlib import Path

import pyarrow.parquet
import pytest
from settings import ENGINE, RUNTIME

from im_bench.checkpoint import Checkpoint, save
from im_bench.config import Fast, Harness, UserError
from im_bench.evaluation import harness
from im_bench.evaluation.benchmarks import BENCHMARKS
from im_bench.evaluation.engine import ANSWERED, open_engine
from im_bench.toy.files import write_world

SPEC = Fast(kind="vllm", gpus=1, memory=0.5, max_length=None)


@pytest.fixture(autouse=True)
def stand_in(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "stand_ins")
    importlib.invalidate_caches()
    yield
    for name in [*sys.modules]:
        if name.partition(".")[0] == "vllm" or name.endswith((".engines.vllm", ".vllm_causallms")):
            del sys.modules[name]


@pytest.fixture(scope="module")
def checkpoint(make_model, tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    save(folder, make_model(positions=4096), tokenizer)
    return Checkpoint(str(folder), None, folder)


def column(out, name):
    return [item[name] for item in pyarrow.parquet.read_table(out / "items.parquet").to_pylist()]


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world") / "world"
    write_world(folder, 0)
    return str(folder / "hub")


def score(out, engine, hub, name):
    out.mkdir(exist_ok=True)
    spec = Harness(runner="harness", shots=None)
    harness.evaluate(out, engine, name=name, entry=BENCHMARKS[name], spec=spec, limit=4, hub=hub)


@pytest.mark.parametrize("name", ["piqa", "gsm8k"])
def test_vllm_scores_as_transformers_does(checkpoint, hub, tmp_path, name):
    for where, spec in (("here", ENGINE), ("there", SPEC)):
        score(tmp_path / where, open_engine(checkpoint, spec, RUNTIME), hub, name)
    for what in ("prediction", "outcome", "prompt_tokens", "answer_tokens", "cut_tokens"):
        assert column(tmp_path / "here", what) == column(tmp_path / "there", what)


def test_what_vllm_has_written_is_kept_chunk_by_chunk(checkpoint, hub, tmp_path, monkeypatch):
    lm = (engine := open_engine(checkpoint, SPEC, RUNTIME)).lm
    lm.chunk, asked, generate = 3, [], lm._model_generate

    def breaking(requests, **options):
        asked.append(len(requests))
        if len(asked) == 2:
            raise KeyboardInterrupt
        return generate(requests, **options)

    monkeypatch.setattr(lm, "_model_generate", breaking)
    with pytest.raises(KeyboardInterrupt):
        score(tmp_path, engine, hub, "gsm8k")
    assert len((tmp_path / ANSWERED).read_text().splitlines()) == 3
    score(tmp_path, engine, hub, "gsm8k")
    assert asked == [3, 1, 1]


def test_vllm_writes_as_transformers_does_and_each_sample_has_its_seed(checkpoint):
    here, there = open_engine(checkpoint, ENGINE, RUNTIME), open_engine(checkpoint, SPEC, RUNTIME)
    prompts = [here.text_prompt("The sea")] * 4
    how = {"max_new_tokens": 12, "seed": 0}
    assert there.generate(prompts, temperature=0.0, **how) == here.generate(prompts, temperature=0.0, **how)
    drawn = there.generate(prompts, temperature=2.0, **how)
    assert len(set(drawn)) == 4
    assert drawn == there.generate(prompts, temperature=2.0, **how)


def test_vllm_is_told_how_much_of_the_gpu_is_its_own(checkpoint):
    options = open_engine(checkpoint, SPEC, RUNTIME).lm.model.options
    assert (options["gpu_memory_utilization"], options["tensor_parallel_size"]) == (0.5, 1)


def test_control_tokens_without_weights_are_refused(checkpoint, tokenizer, tmp_path):
    from copy import deepcopy

    from im_bench.data.templates import with_template

    save(tmp_path, None, with_template(deepcopy(tokenizer), "chatml", "here"))
    with pytest.raises(UserError, match="engine=vllm: the chat template has control tokens"):
        open_engine(Checkpoint(checkpoint.weights, None, tmp_path), SPEC, RUNTIME)
