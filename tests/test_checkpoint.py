"""Checkpoints: what is refused before it is loaded, and what a saved one brings along."""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from im_bench.assets import check_model_folder
from im_bench.checkpoint import Checkpoint, load_model, load_tokenizer, place, save
from im_bench.config import Runtime, UserError


@pytest.fixture
def folder(model, tokenizer, tmp_path):
    save(tmp_path / "model", model, tokenizer)
    return tmp_path / "model"


def test_a_whole_folder_is_accepted(folder):
    check_model_folder(folder, "model.path")


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=f"model.path={tmp_path}/none: there is no such folder"):
        check_model_folder(tmp_path / "none", "model.path")


LACKING = {
    "config.json": "there is no config.json, so this is no model folder",
    "model.safetensors": r"there are no weights \(\*.safetensors or pytorch_model\*.bin\)",
    "tokenizer.json": r"there is no tokenizer \(tokenizer.json or tokenizer.model\)",
}


@pytest.mark.parametrize("name, said", LACKING.items(), ids=LACKING)
def test_a_folder_that_lacks_a_file_is_told_which(folder, name, said):
    (folder / name).unlink()
    with pytest.raises(UserError, match=f"model.path={folder}: {said}"):
        check_model_folder(folder, "model.path")


def test_what_a_training_left_beside_its_weights_is_no_weights(folder):
    (folder / "model.safetensors").rename(folder / "training_args.bin")
    with pytest.raises(UserError, match="there are no weights"):
        check_model_folder(folder, "model.path")


def test_a_saved_checkpoint_loads_anywhere(folder, model, tokenizer):
    loaded, theirs = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    ids = theirs("Name a fruit.", return_tensors="pt").input_ids
    assert torch.equal(loaded(ids).logits, model(ids).logits)
    assert theirs.chat_template == tokenizer.chat_template
    assert GenerationConfig.from_pretrained(folder).eos_token_id == tokenizer.eos_token_id


def test_a_model_is_loaded_as_it_was_saved_or_as_it_is_asked(model, tokenizer, tmp_path):
    save(tmp_path, model.bfloat16(), tokenizer)
    checkpoint = Checkpoint(str(tmp_path), None, tmp_path)
    assert load_model(checkpoint, dtype="auto").dtype == torch.bfloat16
    assert load_model(checkpoint, dtype=torch.float32).dtype == torch.float32


def test_an_untrained_checkpoint_is_a_tokenizer_and_a_generation_config(tokenizer, tmp_path):
    save(tmp_path, None, tokenizer)
    assert load_tokenizer(tmp_path).chat_template == tokenizer.chat_template
    assert GenerationConfig.from_pretrained(tmp_path).eos_token_id == tokenizer.eos_token_id
    assert not list(tmp_path.glob("*.safetensors"))


def test_a_tokenizer_without_a_pad_token_pads_with_its_end(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path / "plain")
    plain = AutoTokenizer.from_pretrained(tmp_path / "plain", pad_token=None)
    save(tmp_path / "out", None, plain)
    assert GenerationConfig.from_pretrained(tmp_path / "out").pad_token_id == tokenizer.eos_token_id


def test_a_hub_model_without_network_is_told_the_remedy():
    with pytest.raises(
        UserError, match=r"nobody/nothing: could not be loaded \(.+\).*model=local model.path=FOLDER"
    ):
        load_tokenizer("nobody/nothing", "0" * 40)
    with pytest.raises(UserError, match="nobody/nothing: could not be loaded"):
        load_model(Checkpoint("nobody/nothing", "0" * 40, None), dtype="auto")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_damaged_file_is_a_user_s_to_mend(folder, name):
    (folder / name).write_text("{")
    with pytest.raises(UserError, match=f"{folder}: could not be loaded"):
        load_model(Checkpoint(str(folder), None, folder), dtype="auto")


def test_a_tokenizer_without_an_end_token_is_refused(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    config = (tmp_path / "tokenizer_config.json").read_text()
    (tmp_path / "tokenizer_config.json").write_text(config.replace('"eos_token"', '"no_token"'))
    with pytest.raises(UserError, match="has no end token, so a model could not learn to stop"):
        load_tokenizer(tmp_path)


def test_a_model_is_placed_on_the_cpu_with_the_threads_of_the_runtime(model):
    before = torch.get_num_threads()
    runtime = Runtime(device="cpu", micro_batch_tokens=1, save_steps=1, threads=2)
    place(model, runtime)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)
