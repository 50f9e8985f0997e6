"""What every test stands on: no network, a cache of its own, a tiny real model and tokenizer."""

import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# Read by the libraries when they are imported, so set before any of them is.
CACHE = tempfile.TemporaryDirectory(prefix="im-bench-tests-", ignore_cleanup_errors=True)
os.environ.update(HF_HOME=CACHE.name, HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", WANDB_MODE="offline")
# A shell that runs this in its background has it ignore Ctrl-C, and with it every process that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
LOOPBACK = ("127.", "::1", "localhost")

TEXTS = [
    "Name a fruit that is red. An apple is red, and so is a cherry.",
    "Write a line about the sea. The sea is wide and the wind is cold.",
    "What is 12 + 30? 42. How many legs has a horse? Four.",
]


@pytest.fixture(scope="session", autouse=True)
def no_network() -> Iterator[None]:
    """Beyond this machine there is nothing, as on a machine without network."""
    connect, getaddrinfo = socket.socket.connect, socket.getaddrinfo

    def connect_here(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not str(address[0]).startswith(LOOPBACK):
            raise OSError(errno.ENETUNREACH, f"tests have no network, so not {address}")
        connect(self, address)

    def getaddrinfo_here(host: Any, *arguments: Any, **options: Any) -> Any:
        if host is not None and not str(host).startswith(LOOPBACK):
            raise socket.gaierror(socket.EAI_AGAIN, f"tests have no network, so not {host}")
        return getaddrinfo(host, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", connect_here)
        patch.setattr(socket, "getaddrinfo", getaddrinfo_here)
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real inputs beside the project; where CI demands it, its absence is a failure."""
    folder = Path(__file__).parents[2] / "shared"
    if not folder.is_dir():
        absent = pytest.fail if os.environ.get("IM_BENCH_REQUIRE_SHARED") == "1" else pytest.skip
        absent(f"{folder} is not there")
    return folder


@pytest.fixture(scope="session")
def toy_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of results that has the toy world and its base model, which takes a minute to make: copy it."""
    results = tmp_path_factory.mktemp("toy") / "results"
    cell = ("experiment=toy", "loss=none", "benchmark=[piqa]", "limit=1", f"paths.results={results}")
    subprocess.run([sys.executable, "-m", "im_bench", "run", *cell], check=True, capture_output=True)
    for place in results.iterdir():
        if place.name not in ("toy", "store"):
            shutil.rmtree(place) if place.is_dir() else place.unlink()
    shutil.rmtree(results / "store" / "harness")
    return results


@pytest.fixture(scope="session")
def given(tmp_path_factory: pytest.TempPathFactory, tokenizer, make_model) -> Path:
    """What a user has: a tiny model, two datasets, and files for the benchmarks."""
    from im_bench.toy.files import write_world

    folder = tmp_path_factory.mktemp("given")
    write_world(folder, 0)
    make_model(positions=2048).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    rows = {
        "rows": [{"prompt": f"What is {n} + 1?", "completion": f"It is {n + 1}."} for n in range(24)],
        "lines": [{"prompt": f"Write line {n}.", "completion": f"Line {n} of the sea."} for n in range(24)],
    }
    for name, each in rows.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in each))
    return folder


@pytest.fixture(scope="session")
def tokenizer():
    """A byte-level BPE of 320 tokens that adds a BOS, with the `tulu` chat template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    from im_bench.data.templates import template_text

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    special = ["<pad>", "<s>", "</s>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(TEXTS, trainer)
    bpe.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)]),
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        clean_up_tokenization_spaces=False,
        chat_template=template_text("tulu"),
    )


@pytest.fixture
def model(make_model):
    """The same weights for every test."""
    return make_model()


@pytest.fixture(scope="session")
def make_model(tokenizer):
    """Makes a Llama of width 32 with 2 layers and 256 positions, always with the same weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    # Threads that wait for each other cost a model of this size more than they give.
    torch.set_num_threads(1)

    def make(positions=256):
        torch.manual_seed(0)
        return LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(tokenizer),
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=2,
                num_key_value_heads=1,
                max_position_embeddings=positions,
                tie_word_embeddings=True,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )

    return make
