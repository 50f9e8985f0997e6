"""A benchmark's requests: kept as they are answered, resumed, measured, and halved where memory ends."""

import json
from copy import deepcopy

import pyarrow.parquet
import pytest
import torch
from lm_eval.utils import make_table
from settings import ENGINE, RUNTIME

from im_bench.checkpoint import Checkpoint, save
from im_bench.config import HF, Harness, UserError
from im_bench.evaluation import harness, tasks
from im_bench.evaluation.benchmarks import BENCHMARKS
from im_bench.evaluation.engine import ANSWERED, open_engine
from im_bench.evaluation.engines.asking import Answered, Draw, Sampling, cut
from im_bench.evaluation.engines.hf import Noise
from im_bench.scores import read_scores
from im_bench.toy.files import write_world

AUTO = HF(kind="hf", batch_size="auto")


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world") / "world"
    write_world(folder, 0)
    return str(folder / "hub")


@pytest.fixture(scope="module")
def checkpoint(make_model, tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    save(folder, make_model(positions=2048), tokenizer)
    return Checkpoint(str(folder), None, folder)


@pytest.fixture
def engine(checkpoint):
    return open_engine(checkpoint, ENGINE, RUNTIME)


def scored(out, engine, hub, name="piqa", shots=0, limit=20, prompt="raw", follow=lambda done, total: None):
    out.mkdir(exist_ok=True)
    spec = Harness(runner="harness", shots=shots, prompt=prompt)
    entry = BENCHMARKS[name]
    harness.evaluate(out, engine, name=name, entry=entry, spec=spec, limit=limit, hub=hub, follow=follow)
    return read_scores(out)


def items(out):
    return pyarrow.parquet.read_table(out / "items.parquet").to_pylist()


class Failing:
    """A method of the model that fails when it is asked `after` times, or for more rows than `rows`."""

    def __init__(self, method, error, *, after=10**9, rows=10**9):
        self.method, self.error, self.after, self.rows, self.calls = method, error, after, rows, 0

    def __call__(self, *arguments, **options):
        self.calls += 1
        batch = arguments[0] if arguments else options.get("context", options.get("input_ids"))
        if self.calls > self.after or len(batch) > self.rows:
            raise self.error
        return self.method(*arguments, **options)


@pytest.mark.parametrize("name", ["piqa", "gsm8k"])
def test_an_interrupted_benchmark_goes_on_where_it_was(engine, hub, tmp_path, monkeypatch, name):
    whole, out = tmp_path / "whole", tmp_path / "broken"
    what = "_model_call" if name == "piqa" else "_model_generate"
    count = Failing(getattr(engine.lm, what), None)
    monkeypatch.setattr(engine.lm, what, count)
    scored(whole, engine, hub, name)
    monkeypatch.setattr(engine.lm, what, Failing(count.method, KeyboardInterrupt(), after=1))
    with pytest.raises(KeyboardInterrupt):
        scored(out, engine, hub, name)
    kept = (out / ANSWERED).read_text().splitlines()
    assert len(kept) == 8  # one batch
    (out / ANSWERED).write_text("\n".join([*kept, '["cut in the mid']))
    again = Failing(count.method, None)
    monkeypatch.setattr(engine.lm, what, again)
    told = []
    scored(out, engine, hub, name, follow=lambda done, total: told.append((done, total)))
    assert again.calls == count.calls - 1
    assert told[0][0] == 8
    assert told[-1] == (told[-1][1], told[-1][1])
    assert items(out) == items(whole)
    assert not (out / ANSWERED).exists()


@pytest.mark.parametrize("name", ["piqa", "gsm8k"])
def test_what_does_not_fit_in_memory_is_asked_in_halves(engine, hub, tmp_path, monkeypatch, caplog, name):
    whole, out = tmp_path / "whole", tmp_path / "halved"
    scored(whole, engine, hub, name)
    what = "_model_call" if name == "piqa" else "_model_generate"
    memory = Failing(getattr(engine.lm, what), torch.OutOfMemoryError("CUDA out of memory."), rows=2)
    monkeypatch.setattr(engine.lm, what, memory)
    scored(out, engine, hub, name)
    assert [item["prediction"] for item in items(out)] == [item["prediction"] for item in items(whole)]
    assert caplog.text.count("going on with half") == 2  # 8, 4, 2


def test_where_not_even_one_prompt_fits_the_error_says_so(engine, hub, tmp_path, monkeypatch):
    memory = Failing(None, torch.OutOfMemoryError("CUDA out of memory."), rows=0)
    monkeypatch.setattr(engine.lm, "_model_call", memory)
    with pytest.raises(UserError, match="not even one prompt fits"):
        scored(tmp_path, engine, hub)


def test_a_model_that_diverged_has_no_score(engine, hub, tmp_path):
    with torch.no_grad():
        engine.lm.model.lm_head.weight.fill_(float("nan"))
    with pytest.raises(UserError, match="log-likelihoods are no numbers"):
        scored(tmp_path, engine, hub)


def test_a_model_that_diverged_has_no_score_of_what_it_writes(engine, hub, tmp_path):
    with torch.no_grad():
        engine.lm.model.lm_head.weight.fill_(float("nan"))
    with pytest.raises(UserError, match="logits are no numbers"):
        scored(tmp_path, engine, hub, "gsm8k", limit=1)
    for temperature in (0, 0.7):
        with pytest.raises(UserError, match="logits are no numbers"):
            engine.generate([[1, 5]], max_new_tokens=2, temperature=temperature, seed=0)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # of the task itself
def test_an_item_whose_outcome_is_no_number_has_no_score(engine, hub, tmp_path):
    with torch.no_grad():
        engine.lm.model.lm_head.weight.mul_(1e6)  # every answer's probability is 0
    with pytest.raises(UserError, match=r"benchmark\.truthfulqa: \d items have no number as outcome"):
        scored(tmp_path, engine, hub, "truthfulqa", limit=2)
    assert not (tmp_path / "scores.json").exists()


def test_answers_are_kept_until_there_are_scores(engine, hub, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(harness, "write_scores", Failing(None, KeyboardInterrupt(), after=0))
        with pytest.raises(KeyboardInterrupt):
            scored(tmp_path, engine, hub, limit=2)
    assert len((tmp_path / ANSWERED).read_text().splitlines()) == 4
    monkeypatch.setattr(engine.lm, "_model_call", None)  # calling it would fail
    scored(tmp_path, engine, hub, limit=2)
    assert not (tmp_path / ANSWERED).exists()


def test_kept_answers_are_whole_while_they_are_read_again(tmp_path, monkeypatch):
    (tmp_path / ANSWERED).write_text(kept := '["a", "one", [1, 1, 0]]\n')
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("pathlib.Path.replace", Failing(None, KeyboardInterrupt(), after=0))
        Answered(tmp_path / ANSWERED, lambda more: None)
    assert (tmp_path / ANSWERED).read_text() == kept


def test_an_error_that_is_not_of_memory_stays_itself(engine, hub, tmp_path, monkeypatch):
    monkeypatch.setattr(engine.lm, "_model_call", Failing(None, RuntimeError("a broken kernel"), rows=0))
    with pytest.raises(RuntimeError, match="a broken kernel"):
        scored(tmp_path, engine, hub)


def test_a_benchmark_begins_with_whole_batches_whatever_another_had_room_for(engine, hub, tmp_path):
    engine.lm._shrunk = 4
    scored(tmp_path, engine, hub)
    assert engine.lm.batch_size_per_gpu == 8


def test_a_score_does_not_depend_on_which_benchmarks_ran_before(engine, hub, tmp_path):
    found = []
    for others in ([], ["arc", "hellaswag"]):
        tasks._built.clear()
        tasks.load_tasks.cache_clear()
        for name in others:
            scored(tmp_path / name, engine, hub, name, shots=2, limit=5)
        out = tmp_path / f"after_{len(others)}"
        scored(out, engine, hub, shots=4)
        found.append(items(out))
    assert found[0] == found[1]


def test_long_prompts_are_fewer_at_once(checkpoint):
    lm = open_engine(checkpoint, AUTO, RUNTIME).lm
    sizes = []
    for tokens in (1, 256, 512, 1024, 2048, 10**6):
        lm.expect(tokens)
        sizes.append(lm.batch_size_per_gpu)
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == 64
    assert sizes[-1] == sizes[-2] >= 1


def test_scores_do_not_depend_on_the_batch(checkpoint, hub, tmp_path):
    found = []
    for batch in (1, 5, "auto"):
        engine = open_engine(checkpoint, HF(kind="hf", batch_size=batch), RUNTIME)
        scored(tmp_path / str(batch), engine, hub)
        found.append([item["prediction"] for item in items(tmp_path / str(batch))])
    assert found[0] == found[1] == found[2]


def test_what_is_cut_is_counted(make_model, tokenizer, hub, tmp_path):
    save(tmp_path / "short", make_model(positions=128), tokenizer)
    engine = open_engine(Checkpoint(str(tmp_path / "short"), None, tmp_path / "short"), ENGINE, RUNTIME)
    (none,) = scored(tmp_path / "none", engine, hub, shots=0)
    (some,) = scored(tmp_path / "some", engine, hub, shots=5)
    assert (none.truncated, some.truncated) == (0, 20)
    for item in items(tmp_path / "some"):
        assert (
            item["cut_tokens"] == item["prompt_tokens"] + item["answer_tokens"] - 129
        )  # the last one is not read


def test_the_tokens_of_an_answer_are_those_written(engine, tokenizer, hub, tmp_path):
    scored(tmp_path, engine, hub, "wmt14", limit=3)
    for item in items(tmp_path):
        (text,) = json.loads(item["responses"])
        assert abs(item["answer_tokens"] - len(tokenizer.encode(text, add_special_tokens=False))) <= 2


def test_tokens_are_those_of_the_prompt_and_of_the_longest_choice(engine, tokenizer, hub, tmp_path):
    scored(tmp_path, engine, hub)
    for item in items(tmp_path):
        row = json.loads(item["row"])
        prompt = f"Question: {row['goal']}\nAnswer:"
        assert item["prompt_tokens"] == len(tokenizer(prompt).input_ids)
        longest = max(len(tokenizer(f"{prompt} {row[choice]}").input_ids) for choice in ("sol1", "sol2"))
        assert item["prompt_tokens"] + item["answer_tokens"] == longest


@pytest.mark.parametrize(
    "name, words", [("gsm8k", "answers may have"), ("hellaswag", "an answer to score has")]
)
def test_a_benchmark_that_the_model_cannot_hold_is_refused(make_model, tokenizer, hub, tmp_path, name, words):
    save(tmp_path / "tiny", make_model(positions=4), tokenizer)
    engine = open_engine(Checkpoint(str(tmp_path / "tiny"), None, tmp_path / "tiny"), ENGINE, RUNTIME)
    with pytest.raises(UserError, match=f"{words} .* tokens and the model holds 4"):
        scored(tmp_path / "out", engine, hub, name)


def test_in_the_chat_template_shots_are_turns(engine, hub, tmp_path, tokenizer):
    seen = []
    ask = engine.lm._loglikelihood_tokens
    engine.lm._loglikelihood_tokens = lambda requests, **options: (
        seen.extend(requests),
        ask(requests, **options),
    )[1]
    scored(tmp_path, engine, hub, shots=1, limit=1, prompt="chat")
    (prompt, _), *_ = seen[0]
    assert prompt.count("<|user|>\n") == 2
    assert prompt.count("<|assistant|>\n") == 2
    assert prompt.endswith("<|assistant|>\n")
    spelled = tokenizer(prompt.rstrip(), add_special_tokens=False).input_ids
    assert seen[0][1] == [tokenizer.bos_token_id, *spelled]


def test_a_second_checkpoint_does_not_build_prompts_again(engine, hub, tmp_path, monkeypatch):
    scored(tmp_path / "one", engine, hub, shots=3)
    (task,) = tasks.load_tasks("piqa", BENCHMARKS["piqa"], 3, hub)["tasks"].values()
    monkeypatch.setattr(task, "fewshot_context", None)  # calling it would fail
    scored(tmp_path / "two", engine, hub, shots=3)
    assert items(tmp_path / "one") == items(tmp_path / "two")


def test_another_end_token_in_the_same_template_is_another_prompt(checkpoint, tokenizer, hub, tmp_path):
    prompts = []
    for end in ("</s>", "<pad>"):
        other = deepcopy(tokenizer)
        other.eos_token = end
        save(tmp_path / end[1:-1], None, other)
        engine = open_engine(Checkpoint(checkpoint.weights, None, tmp_path / end[1:-1]), ENGINE, RUNTIME)
        scored(tmp_path / "out", engine, hub, shots=1, limit=1, prompt="chat")
        prompts += [item["prompt"] for item in items(tmp_path / "out")]
    assert len(set(prompts)) == 2


def test_rows_that_do_not_fit_the_task_are_named_with_what_they_lack(engine, tmp_path):
    folder = tmp_path / "hub/baber/piqa"
    folder.mkdir(parents=True)
    rows = [{"question": "Why?", "sol1": "So.", "sol2": "Not so.", "label": 0}] * 3
    for split in ("train", "validation"):
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(
        UserError,
        match=r"benchmark\.piqa: the rows of .*piqa do not fit lm-eval.s task .*goal",
    ):
        scored(tmp_path / "out", engine, str(tmp_path / "hub"))


def test_the_harness_reads_its_own_file(engine, hub, tmp_path):
    scored(tmp_path, engine, hub, "arc", limit=4)
    results = json.loads((tmp_path / "results.json").read_text())
    table = make_table(results)
    assert "|arc_challenge|" in table
    assert "N/A" not in [line.split("|")[-2].strip() for line in table.splitlines() if "|acc" in line]
    assert {"config", "date", "model_name", "chat_template", "n-shot", "versions"} <= results.keys()


# --- drawing ---


def draws(tokenizer, count=6):
    prompts = [tokenizer(text).input_ids for text in ("The sea", "The wind is", "A horse has four")]
    return [Draw(prompts[index % 3], seed=index) for index in range(count)]


@pytest.mark.parametrize("batch", [1, 4, "auto"])
def test_a_draw_is_its_seeds_whatever_is_drawn_beside_it(checkpoint, tokenizer, batch):
    how = Sampling(max_new_tokens=12, temperature=1.0, top_p=0.9, stop=())
    one = open_engine(checkpoint, HF(kind="hf", batch_size=1), RUNTIME).lm
    alone = [one.write([draw], how, lambda more: None)[0] for draw in draws(tokenizer)]
    lm = open_engine(checkpoint, HF(kind="hf", batch_size=batch), RUNTIME).lm
    assert lm.write(draws(tokenizer), how, lambda more: None) == alone
    assert len(set(alone)) == len(alone)


def test_drawing_goes_on_in_halves(engine, tokenizer, monkeypatch):
    how = Sampling(max_new_tokens=5, temperature=1.0, top_p=1.0, stop=())
    whole = engine.lm.write(draws(tokenizer), how, lambda more: None)
    memory = Failing(engine.lm.model.generate, torch.OutOfMemoryError("CUDA out of memory."), rows=2)
    monkeypatch.setattr(engine.lm.model, "generate", memory)
    told = []
    assert engine.lm.write(draws(tokenizer), how, told.append) == whole
    assert sum(told) == 6


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_noise_makes_the_likeliest_a_fair_draw(temperature):
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0])
    n = 4000
    noise = Noise(range(n), temperature, torch.device("cpu"))
    chosen = noise(torch.empty(0), logits.expand(n, 4)).argmax(-1)
    expected = torch.softmax(logits / temperature, -1)
    found = torch.bincount(chosen, minlength=4) / n
    assert ((found - expected).abs() < 4 * (expected * (1 - expected) / n).sqrt()).all()


def test_the_nucleus_is_of_the_distribution_at_the_temperature(engine, tokenizer):
    how = Sampling(max_new_tokens=1, temperature=2.0, top_p=0.3, stop=())
    prompt = tokenizer("The sea").input_ids
    with torch.inference_mode():
        logits = engine.lm.model(torch.tensor([prompt])).logits[0, -1]
    values, order = torch.softmax(logits / 2.0, -1).sort(descending=True)
    allowed = set(order[: int((values.cumsum(0) < 0.3).sum()) + 1].tolist())
    asked = [Draw(prompt, seed) for seed in range(300)]
    ids = []
    generate = engine.lm.model.generate
    engine.lm.model.generate = lambda **options: (ids.append(generate(**options)), ids[-1])[1]
    engine.lm.write(asked, how, lambda more: None)
    drawn = {int(row[-1]) for batch in ids for row in batch}
    assert drawn <= allowed
    assert len(drawn) > len(allowed) / 2


def test_a_text_ends_before_the_first_stop_string():
    assert cut("one\ntwo three", ("three", "\n")) == "one"
    assert cut("one", ("\n",)) == "one"
