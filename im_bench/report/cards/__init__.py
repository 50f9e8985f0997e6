"""Model cards: the README.md with which a trained checkpoint goes to the hub.

A card is a pure function of what is known of its checkpoint, without a date or a place, so that equal checkpoints with
equal scores have equal bytes. Nothing in it says where on a machine anything lies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from im_bench.config import Run
from im_bench.drafts import drafted
from im_bench.report.cards import scores, training
from im_bench.report.cards.command import command
from im_bench.report.cards.front_matter import front_matter
from im_bench.report.cards.known import Made, Scored, datasets_of, name_of
from im_bench.store import CARD

__all__ = ["LOAD", "Made", "Scored", "card", "write_card"]

LOAD = """```python
from transformers import AutoModelForCausalLM, AutoTokenizer

place = "."  # this folder, or the repository's id on the hub
tokenizer = AutoTokenizer.from_pretrained(place)
model = AutoModelForCausalLM.from_pretrained(place)
prompt = tokenizer.apply_chat_template(
    [{"role": "user", "content": "Name three colours."}],
    add_generation_prompt=True,
    return_dict=True,
    return_tensors="pt",
)
answer = model.generate(**prompt, max_new_tokens=256, do_sample=False)
print(tokenizer.decode(answer[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True))
```"""


def card(run: Run, scored: Sequence[Scored], made: Made) -> str:
    """The card of the checkpoint that `run` scores: front matter as the hub reads it, and Markdown.

    Args:
        scored: rows of that checkpoint, from any sweep and in any order; one step's number may stand twice.
    """
    shown = scores.distinct(scored)
    sections = (
        *training.sections(run, made),
        ("Scores", scores.section(shown)),
        ("How to use it", [LOAD]),
        ("How it was made", _making(run, shown, made)),
        ("Limits", _limits(run, shown, made.labels)),
        ("Licence", [_licence(run)]),
    )
    text = [f"---\n{front_matter(run, shown, made)}\n---", f"# {name_of(run, made)}"]
    for heading, paragraphs in sections:
        text += [f"## {heading}"] * bool(heading)
        text += paragraphs
    return "\n\n".join(text) + "\n"


def write_card(folder: Path, text: str) -> None:
    """Write a card beside its weights, by rename; one that is there already and says the same is left alone."""
    place = folder / CARD
    if not place.is_file() or place.read_bytes() != text.encode():
        with drafted(place) as draft:
            draft.write_bytes(text.encode())


def _making(run: Run, scored: Sequence[Scored], made: Made) -> list[str]:
    packages = ", ".join(f"{name} {version}" for name, version in made.made["packages"].items() if version)
    beside = " `step.json` is its record, `labels.json` the whole label report." * (run.scored_epoch is None)
    return [
        f"Step `train/{made.key}` of {packages}, on Python {made.made['python']}.{beside} The same again:",
        f"```sh\n{command(run, scored)}\n```",
    ]


def _limits(run: Run, scored: Sequence[Scored], labels: Mapping[str, Any]) -> list[str]:
    limits = [
        "What it says may be false, biased or harmful; no one has examined it beyond the scores above.",
        "Standard errors are over items alone; it is one training with one seed, and another would differ too.",
    ]
    if run.model.source == "toy":
        limits.insert(0, "It knows a made-up world and nothing else: it is for demonstrations and tests.")
    if any((each.row.judge or "").split(" (")[0] == "overlap" for each in scored):
        limits.append(
            "Scores of judge `overlap` are word overlap with a reference; no language model has judged."
        )
    if labels["ends_outside"]:
        limits.append(f"{labels['ends_outside']:,} ends of turn were cut off or carry no loss.")
    return ["\n".join(f"- {limit}" for limit in limits)]


def _licence(run: Run) -> str:
    known = [f"`{each.name}`: {each.licence}" for each in datasets_of(run.dataset) if each.licence]
    data = f" Of the data is known: {', '.join(known)}." if known else ""
    return f"None is stated: it follows from those of the base model and of the training data.{data}"
