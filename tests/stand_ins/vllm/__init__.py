"""What of vLLM's interface lm-eval and im-bench use, on transformers: vLLM itself needs a GPU."""

from dataclasses import dataclass, field
from types import SimpleNamespace

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


@dataclass
class SamplingParams:
    max_tokens: int = 16
    temperature: float = 1.0
    top_p: float = 1.0
    stop: list = field(default_factory=list)
    seed: int | None = None
    prompt_logprobs: int | None = None
    detokenize: bool = True
    skip_special_tokens: bool = True
    spaces_between_special_tokens: bool = True


@dataclass
class TokensPrompt:
    prompt_token_ids: list


class LLM:
    def __init__(self, *, model, tokenizer, max_model_len, trust_remote_code, **options):
        assert trust_remote_code is False
        self.options = options
        self._model = AutoModelForCausalLM.from_pretrained(model).eval()
        self._tokenizer = AutoTokenizer.from_pretrained(tokenizer)
        length = max_model_len or self._model.config.max_position_embeddings
        self.llm_engine = SimpleNamespace(model_config=SimpleNamespace(max_model_len=length))

    @torch.inference_mode()
    def generate(self, prompts, sampling_params, use_tqdm, lora_request):
        assert lora_request is None
        return [
            self._one(prompt.prompt_token_ids, how)
            for prompt, how in zip(prompts, sampling_params, strict=True)
        ]

    def _one(self, ids, how):
        assert len(ids) + how.max_tokens <= self.llm_engine.model_config.max_model_len, (
            "vLLM refuses such a prompt"
        )
        read = self._logprobs(ids) if how.prompt_logprobs else None
        text = self._write(ids, how) if how.detokenize else ""
        return SimpleNamespace(prompt_logprobs=read, outputs=[SimpleNamespace(text=text)])

    def _logprobs(self, ids):
        values_tv = torch.log_softmax(self._model(torch.tensor([ids])).logits[0], -1)
        found = [None]
        for place, token in enumerate(ids[1:]):
            likeliest = int(values_tv[place].argmax())
            found.append({each: float(values_tv[place, each]) for each in {likeliest, token}})
        return found

    def _write(self, ids, how):
        torch.manual_seed(how.seed or 0)
        sampled = {"do_sample": True, "temperature": how.temperature, "top_p": how.top_p, "top_k": 0}
        options = sampled if how.temperature > 0 else {"do_sample": False}
        written = self._model.generate(torch.tensor([ids]), max_new_tokens=how.max_tokens, **options)[
            0
        ].tolist()
        whole, start = (self._tokenizer.decode(each, skip_special_tokens=True) for each in (written, ids))
        text = whole[len(start) :]
        return text[: min((place for place in map(text.find, how.stop) if place >= 0), default=len(text))]
