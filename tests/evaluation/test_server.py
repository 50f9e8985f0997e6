"""The engine that is a served model: the same answers as in process, and what happens when the server fails."""

import pyarrow.parquet
import pytest
from completions_server import CompletionsServer
from settings import ENGINE, RUNTIME

from im_bench.checkpoint import Checkpoint, save
from im_bench.config import Harness, Server, UserError
from im_bench.evaluation import harness
from im_bench.evaluation.benchmarks import BENCHMARKS
from im_bench.evaluation.engine import ANSWERED, open_engine
from im_bench.evaluation.engines import server as server_engine
from im_bench.evaluation.engines.asking import Answered
from im_bench.scores import read_scores
from im_bench.toy.files import write_world


@pytest.fixture(autouse=True)
def no_proxy_and_no_waiting(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr("lm_eval.models.api_models.wait_exponential", lambda **_: lambda state: 0.01)


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world") / "world"
    write_world(folder, 0)
    return str(folder / "hub")


@pytest.fixture(scope="module")
def checkpoint(make_model, tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    save(folder, make_model(positions=4096), tokenizer)
    return Checkpoint(str(folder), None, folder)


@pytest.fixture(scope="module")
def served(checkpoint):
    with CompletionsServer(checkpoint.weights) as server:
        yield server


def spec(server, **changes):
    values = {"model": None, "api_key_env": None, "concurrency": 4, "timeout_seconds": 20, "retries": 4}
    return Server(**({"kind": "server", "base_url": server.url, "max_length": None} | values | changes))


def scored(out, engine, hub, name, limit=6):
    out.mkdir(exist_ok=True)
    harness.evaluate(
        out,
        engine,
        name=name,
        entry=BENCHMARKS[name],
        spec=Harness(runner="harness", shots=None),
        limit=limit,
        hub=hub,
    )
    return read_scores(out)


def column(out, name):
    return [item[name] for item in pyarrow.parquet.read_table(out / "items.parquet").to_pylist()]


@pytest.mark.parametrize("name", ["piqa", "gsm8k"])
def test_a_served_model_scores_as_it_does_in_process(served, checkpoint, hub, tmp_path, name):
    scored(tmp_path / "here", open_engine(checkpoint, ENGINE, RUNTIME), hub, name)
    scored(tmp_path / "there", open_engine(checkpoint, spec(served), RUNTIME), hub, name)
    for what in ("prediction", "outcome", "prompt_tokens", "answer_tokens", "cut_tokens"):
        assert column(tmp_path / "here", what) == column(tmp_path / "there", what)


def test_a_served_model_writes_as_it_does_in_process(served, checkpoint):
    here, there = open_engine(checkpoint, ENGINE, RUNTIME), open_engine(checkpoint, spec(served), RUNTIME)
    prompts = [here.text_prompt(text) for text in ("The sea", "A horse has four", "The sea")]
    how = {"max_new_tokens": 12, "temperature": 0.0, "seed": 0, "stop": ("\n",)}
    told = []
    assert there.generate(prompts, **how, done=told.append) == here.generate(prompts, **how)
    assert sum(told) == 3


def test_each_sample_of_a_served_model_has_a_seed_of_its_own(served, checkpoint):
    engine = open_engine(checkpoint, spec(served), RUNTIME)
    how = {"max_new_tokens": 12, "temperature": 2.0, "seed": 0}
    first = engine.generate([engine.text_prompt("The sea")] * 4, **how)
    assert len(set(first)) == 4
    assert first == engine.generate([engine.text_prompt("The sea")] * 4, **how)
    assert first != engine.generate([engine.text_prompt("The sea")] * 4, **how | {"seed": 1})


def test_the_key_comes_from_the_environment(served, checkpoint, monkeypatch):
    monkeypatch.delenv("SERVER_KEY", raising=False)
    with pytest.raises(UserError, match="engine.api_key_env=SERVER_KEY: the environment variable is not set"):
        open_engine(checkpoint, spec(served, api_key_env="SERVER_KEY"), RUNTIME)
    monkeypatch.setenv("SERVER_KEY", "word")
    engine = open_engine(checkpoint, spec(served, api_key_env="SERVER_KEY"), RUNTIME)
    engine.generate([engine.text_prompt("The sea")], max_new_tokens=2, temperature=0.0, seed=0)
    assert "Bearer word" in served.keys


def test_another_model_than_the_checkpoint_is_refused(served, checkpoint, tmp_path):
    other = Checkpoint(str(tmp_path), None, checkpoint.tokenizer)
    with pytest.raises(UserError, match="it serves .*, and not this checkpoint; start one with `vllm serve"):
        open_engine(other, spec(served), RUNTIME)
    with pytest.raises(UserError, match="engine.model=nobody: .* has no such model; it has "):
        open_engine(checkpoint, spec(served, model="nobody"), RUNTIME)


def test_a_served_name_is_believed_unless_its_folder_is_another(checkpoint, tmp_path):
    other = Checkpoint(str(tmp_path), None, checkpoint.tokenizer)
    with CompletionsServer(checkpoint.weights, name="tuned") as server:
        named = spec(server, model="tuned", max_length=512)
        open_engine(checkpoint, named, RUNTIME)
        open_engine(other._replace(weights="org/of-the-hub"), named, RUNTIME)
        with pytest.raises(
            UserError, match=f"serves {checkpoint.weights} .* not this checkpoint, {tmp_path}"
        ):
            open_engine(other, named, RUNTIME)
        server.about["root"] = "/elsewhere/model"
        with pytest.raises(UserError, match="serves /elsewhere/model .* not this checkpoint"):
            open_engine(other, named, RUNTIME)
        server.about["root"] = "org/of-the-hub"
        open_engine(other, named, RUNTIME)


def test_a_text_that_begins_with_the_start_token_is_given_no_second(served, checkpoint):
    here, there = (open_engine(checkpoint, one, RUNTIME).lm for one in (ENGINE, spec(served)))
    texts = ("<s>The sea", "The sea", "", "<s>")
    alone = [here.tok_encode(text) for text in texts]
    assert alone == [there.tok_encode(text) for text in texts] == there.tok_encode(texts)


def test_sglang_gives_no_second_start_token_either(tokenizer):
    from im_bench.evaluation.engines.sglang import Model

    lm = object.__new__(Model)  # SGLang itself needs a GPU
    lm.tokenizer, lm.add_bos_token = tokenizer, True
    assert lm.tok_encode(["<s>The sea", "The sea"]) == [tokenizer.encode("The sea")] * 2


def test_a_reply_without_log_probabilities_is_told_and_an_error_of_our_own_stays_itself(
    checkpoint, hub, tmp_path, monkeypatch
):
    with CompletionsServer(checkpoint.weights) as server:
        engine = open_engine(checkpoint, spec(server, retries=1), RUNTIME)
        with monkeypatch.context() as patch:
            patch.setattr(server.writer, "logprobs", lambda *_: None)
            with pytest.raises(UserError, match="the reply has no log-probabilities .*TypeError"):
                scored(tmp_path / "told", engine, hub, "piqa", limit=1)

        def broken(*_):
            raise KeyError("a broken hook")

        monkeypatch.setattr(Answered, "add_partial", broken)
        with pytest.raises(KeyError, match="a broken hook"):
            scored(tmp_path / "own", engine, hub, "piqa", limit=1)


def test_a_server_that_is_not_up_is_named(checkpoint):
    with CompletionsServer(checkpoint.weights) as server:
        gone = spec(server)
    with pytest.raises(
        UserError, match=r"engine.base_url=http://127.0.0.1:\d+/v1: no list of models .*is it up"
    ):
        open_engine(checkpoint, gone, RUNTIME)


def test_faults_are_retried_and_change_no_score(checkpoint, hub, tmp_path):
    scored(tmp_path / "whole", open_engine(checkpoint, ENGINE, RUNTIME), hub, "piqa")
    faults = {1: "500", 2: "429", 3: "drop", 4: "half", 7: "drop"}
    with CompletionsServer(checkpoint.weights, faults=faults.get) as server:
        scored(tmp_path / "faulty", open_engine(checkpoint, spec(server), RUNTIME), hub, "piqa")
        assert len(server.bodies) == 12 + len(faults)
    assert column(tmp_path / "whole", "prediction") == column(tmp_path / "faulty", "prediction")


def test_a_server_that_refuses_a_request_is_told_with_its_status(checkpoint, hub, tmp_path):
    with CompletionsServer(checkpoint.weights, faults=lambda number: "403") as server:
        engine = open_engine(checkpoint, spec(server, concurrency=1, retries=2), RUNTIME)
        with pytest.raises(UserError, match=r"it refuses a request \(status 403\); its own log says why"):
            scored(tmp_path / "out", engine, hub, "piqa")


def test_a_server_that_dies_fails_that_benchmark_and_what_it_said_is_kept(checkpoint, hub, tmp_path):
    with CompletionsServer(
        checkpoint.weights, faults=lambda number: "drop" if number >= 5 else None
    ) as server:
        engine = open_engine(checkpoint, spec(server, concurrency=2, retries=2), RUNTIME)
        with pytest.raises(UserError, match="what was answered is kept, and the same command goes on"):
            scored(tmp_path / "out", engine, hub, "piqa")
    assert len((tmp_path / "out" / ANSWERED).read_text().splitlines()) == 5
    with CompletionsServer(checkpoint.weights) as server:
        scored(tmp_path / "out", open_engine(checkpoint, spec(server), RUNTIME), hub, "piqa")
        assert len(server.bodies) == 12 - 5
    scored(tmp_path / "whole", open_engine(checkpoint, ENGINE, RUNTIME), hub, "piqa")
    assert column(tmp_path / "out", "prediction") == column(tmp_path / "whole", "prediction")


def test_a_server_that_does_not_say_its_length_is_asked_to_be_told(checkpoint):
    with CompletionsServer(checkpoint.weights) as server:
        del server.about["max_model_len"]
        with pytest.raises(UserError, match="give engine.max_length=NUMBER"):
            open_engine(checkpoint, spec(server), RUNTIME)
        assert open_engine(checkpoint, spec(server, max_length=512), RUNTIME).lm.max_length == 511


def test_a_server_that_holds_less_than_the_model_must_be_said_to(checkpoint):
    with CompletionsServer(checkpoint.weights, max_model_len=100) as server:
        with pytest.raises(
            UserError, match="it holds 100 tokens and the model 4096; .* engine.max_length=100"
        ):
            open_engine(checkpoint, spec(server), RUNTIME)
        assert open_engine(checkpoint, spec(server, max_length=100), RUNTIME).lm.max_length == 99
        with pytest.raises(UserError, match=r"engine.max_length=101: .* holds 100 tokens"):
            open_engine(checkpoint, spec(server, max_length=101), RUNTIME)


def test_a_model_that_does_not_say_its_length_must_be_said_to(served, checkpoint, monkeypatch):
    monkeypatch.setattr(server_engine, "context_length", lambda checkpoint: None)
    with pytest.raises(
        UserError, match="holds 4096 tokens, and the model's config .* engine.max_length=4096"
    ):
        open_engine(checkpoint, spec(served), RUNTIME)
    assert open_engine(checkpoint, spec(served, max_length=4096), RUNTIME).lm.max_length == 4095


def test_a_server_that_holds_more_than_the_model_is_asked_for_what_the_model_does(checkpoint):
    with CompletionsServer(checkpoint.weights, max_model_len=5000) as server:
        assert open_engine(checkpoint, spec(server), RUNTIME).lm.max_length == 4095
