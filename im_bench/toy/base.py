"""The toy base model: a byte-level BPE tokenizer and a small Llama, pretrained on the corpus from random weights."""

import json
from pathlib import Path

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from im_bench.checkpoint import place, save
from im_bench.config import Runtime, Train
from im_bench.data.weights import Example
from im_bench.training.trainer import Log, fit

CONTEXT = 1280
"""Positions of the model; BBH asks for 1,024 new tokens, so what is left of its prompt is the question."""

VOCABULARY = 1536
# Digits stand alone, so that sums are learned by place; a word keeps the space before it; a line's end is never
# part of what follows, so that a prompt which ends in one is cut as it was in training.
PIECES = r" ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+|\n|[^\S\n]+(?!\S)|[^\S\n]+"


def make_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """Every byte is in the alphabet, so any text can be encoded; no token is added to what is encoded."""
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(PIECES), "isolated")
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, bytes_])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        model_max_length=CONTEXT,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


PRETRAINING = Train(
    epochs=5,
    global_batch=32,
    max_tokens=CONTEXT,
    learning_rate=2e-3,
    warmup_ratio=0.05,
    schedule="cosine",
    weight_decay=0.0,
    beta1=0.9,
    beta2=0.98,
    epsilon=1e-8,
    max_grad_norm=1.0,
    precision="fp32",
)
MICRO_BATCH_TOKENS = 512
"""Small, because padding is what a larger one would add."""


def make_base(
    out: Path,
    tokenizer: PreTrainedTokenizerFast,
    *,
    pages: list[str],
    seed: int,
    runtime: Runtime,
    log: Log,
) -> None:
    """Pretrain the toy model on the pages of its corpus into `out`, in about a minute and a half on two cores.

    Every token of a page counts, its end included; pages are not packed, so each begins at position 0.
    """
    torch.manual_seed(seed)
    model = make_model(tokenizer)
    small = runtime.model_copy(update={"micro_batch_tokens": MICRO_BATCH_TOKENS})
    place(model, small)
    examples = [_example([*tokenizer.encode(page), tokenizer.eos_token_id]) for page in pages]
    fit(model, examples, train=PRETRAINING, average="token", seed=seed, runtime=small, out=out, log=log)
    save(out, model, tokenizer)


def read_pages(world: Path) -> list[str]:
    """The corpus of the folder `world`, page by page."""
    lines = (world / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["text"] for line in lines]


def make_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Two wide layers: facts are learned in fewer steps than by four narrow ones of the same cost."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=256,
            intermediate_size=704,
            num_hidden_layers=2,
            num_attention_heads=8,
            num_key_value_heads=8,
            max_position_embeddings=CONTEXT,
            tie_word_embeddings=True,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def _example(ids: list[int]) -> Example:
    weights_t = np.ones(len(ids), dtype=np.float32)
    weights_t[0] = 0.0
    return Example(np.array(ids), weights_t, outputs=len(ids) - 1)
