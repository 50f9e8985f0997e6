"""A completions server on the loopback: a real model behind OpenAI's completions protocol, in the dialect of vLLM."""

import json
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

UNSAID = {"max_tokens": 16, "temperature": 1.0, "top_p": 1.0}  # what the protocol takes them for


class CompletionsServer(ThreadingHTTPServer):
    """Serves the model of a folder while it is entered, one prompt after the other and without padding.

    Args:
        tokenizer: its folder; None for the model's.
        name: of the model; None for its folder, as vLLM names it.
        max_model_len: None for what the model holds.
        faults: gets the number of a completion request, from 0, and gives "500", "429", "403", "drop" for no answer,
            "half" for one that breaks off, or None.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, folder: Path, *, tokenizer=None, name=None, max_model_len=None, faults=None):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/v1"
        self.writer = Writer(folder, tokenizer or folder)
        room = max_model_len or self.writer.model.config.max_position_embeddings
        self.about = {"id": name or str(folder), "root": str(folder), "max_model_len": room}
        self.faults = faults or (lambda number: None)
        self.bodies: list[dict] = []  # of the completion requests, those with faults among them
        self.keys: set[str | None] = set()
        self.lock = threading.Lock()
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *error):
        self.shutdown()
        self.server_close()
        self._thread.join()

    def completion(self, body: dict) -> dict:
        if body["model"] != self.about["id"]:
            raise Refused(404, f"The model `{body['model']}` does not exist.")
        prompts = self.writer.prompts(body["prompt"])
        for prompt in prompts:
            self.check(len(prompt), len(prompt) + body["max_tokens"])
        with self.lock:
            written = [self.writer.choice(prompt, body) for prompt in prompts]
        choices = [{"index": index, **choice} for index, choice in enumerate(written)]
        return {"id": "cmpl-0", "object": "text_completion", "model": body["model"], "choices": choices}

    def check(self, prompt: int, whole: int) -> None:
        room = self.about["max_model_len"]
        if prompt == 0:
            raise Refused(400, "The prompt cannot be empty.")
        if whole > room:
            asked = f"However, you requested {whole} tokens ({prompt} in the prompt)."
            raise Refused(400, f"This model's maximum context length is {room} tokens. {asked}")


class Refused(Exception):
    """The request gets this status and this message."""


class Handler(BaseHTTPRequestHandler):
    # HTTP 1.0, the default, ends a connection with its answer, so that a server that has stopped answers nobody.
    server: CompletionsServer

    def do_GET(self) -> None:
        if self.path == "/v1/models":
            self.send(200, {"object": "list", "data": [{"object": "model", **self.server.about}]})
        else:
            self.refuse(404, f"There is nothing at {self.path}.")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/v1/completions":
            return self.refuse(404, f"There is nothing at {self.path}.")
        with self.server.lock:
            self.server.bodies.append(body)
            fault = self.server.faults(len(self.server.bodies) - 1)
        self.server.keys.add(self.headers["Authorization"])
        if fault == "drop":
            return None
        if fault in ("500", "429", "403"):
            return self.refuse(int(fault), "A fault, as was asked.")
        try:
            return self.send(200, self.server.completion(UNSAID | body), half=fault == "half")
        except Refused as refusal:
            return self.refuse(*refusal.args)

    def refuse(self, status: int, message: str) -> None:
        self.send(status, {"error": {"message": message, "type": HTTPStatus(status).phrase, "code": status}})

    def send(self, status: int, body: dict, *, half: bool = False) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if half else data)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class Writer:
    """The model: it continues a prompt and says how likely each token was."""

    def __init__(self, model: Path, tokenizer: Path):
        self.model = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(tokenizer)
        ends = self.model.generation_config.eos_token_id
        self.ends = {self.tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])}

    def prompts(self, given: str | list) -> list[list[int]]:
        several = isinstance(given, list) and given and not isinstance(given[0], int)
        prompts = given if several else [given]
        return [self.tokenizer(one).input_ids if isinstance(one, str) else one for one in prompts]

    @torch.inference_mode()
    def choice(self, prompt: list[int], body: dict) -> dict:
        stop = [body["stop"]] if isinstance(body.get("stop"), str) else body.get("stop") or []
        draw = drawing(body["temperature"], body["top_p"], body.get("seed"))
        rows, cache = self.read(prompt, None)
        ids, text, finish = list(prompt), "", "length"
        while finish == "length" and len(ids) < len(prompt) + body["max_tokens"]:
            if len(ids) > len(prompt):
                row, cache = self.read(ids[-1:], cache)
                rows = torch.cat([rows, row])
            ids.append(draw(rows[-1]))
            # Decoded behind its prompt, because some tokenizers drop the space that a text begins with.
            whole = self.text(ids)[len(self.text(prompt)) :]
            text = before(stop, whole)
            finish = "stop" if text != whole or ids[-1] in self.ends else "length"
        told, first = (self.text(prompt), 0) if body.get("echo") else ("", len(prompt))
        number = body.get("logprobs")
        logprobs = self.logprobs(ids, rows, first, number) if number is not None else None
        return {"text": told + text, "finish_reason": finish, "logprobs": logprobs}

    def read(self, ids: list[int], cache: object) -> tuple[torch.Tensor, object]:
        """At each place the log-probabilities of the token after it."""
        output = self.model(input_ids=torch.tensor([ids]), past_key_values=cache, use_cache=True)
        return output.logits[0].log_softmax(-1), output.past_key_values

    def text(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=True)

    def logprobs(self, ids: list[int], rows: torch.Tensor, first: int, number: int) -> dict:
        places = range(first, len(ids))
        own = [rows[place - 1, ids[place]].item() if place else None for place in places]
        top = [self.top(ids[place], rows[place - 1], number) if place else None for place in places]
        tokens = [self.tokenizer.decode([ids[place]]) for place in places]
        return {"tokens": tokens, "token_logprobs": own, "top_logprobs": top}

    def top(self, chosen: int, row: torch.Tensor, number: int) -> dict[str, float]:
        """The chosen token and the likeliest; of tokens with the same text all but the first by their own names."""
        found: dict[str, float] = {}
        for token in dict.fromkeys([chosen, *row.topk(number).indices.tolist()]):
            text = self.tokenizer.decode([token])
            found[self.tokenizer.convert_ids_to_tokens(token) if text in found else text] = row[token].item()
        return found


def drawing(temperature: float, top_p: float, seed: int | None) -> Callable[[torch.Tensor], int]:
    """Draws tokens from log-probabilities, the same ones for the same seed; temperature 0 takes the likeliest."""
    generator = torch.Generator()
    generator.seed() if seed is None else generator.manual_seed(seed)

    def draw(row: torch.Tensor) -> int:
        if temperature == 0:
            return int(row.argmax())
        likely, tokens = (row / temperature).softmax(-1).sort(descending=True)
        likely[likely.cumsum(0) - likely >= top_p] = 0
        return int(tokens[torch.multinomial(likely, 1, generator=generator)])

    return draw


def before(stop: list[str], text: str) -> str:
    """The text up to the first stop string in it."""
    for string in filter(None, stop):
        text = text.split(string)[0]
    return text
