"""How much of what a checkpoint was trained on it writes again: its answers beside the training's own outputs.

As in Table 2 of the paper the first user message is asked, with what stands before it, and answered greedily. Its
"average BLEU" may be either of two: BLEU of the whole corpus, and the mean over conversations of the BLEU of each. Both
are here, by sacrebleu, with the share of answers that are the output itself, and of its runs of eight words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from sacrebleu.metrics import BLEU

from im_bench.analysis import measures
from im_bench.analysis.means import Mean, mean
from im_bench.analysis.measures import TRAIN, measured
from im_bench.analysis.sets import Trained, name_of, some, training_set
from im_bench.config import UserError
from im_bench.counting import Follow, Tally, nobody
from im_bench.data.contamination import GRAM, words
from im_bench.data.conversations import Conversation
from im_bench.data.encoding import prompt_ids
from im_bench.data.rows import read_rows, write_rows
from im_bench.items import write_items
from im_bench.scores import Score, write_scores

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

CORPUS, SENTENCE = BLEU(force=True), BLEU(effective_order=True)
"""Of one output the orders count that it has, of a corpus all four; `force` keeps it silent on text with lone dots."""
CHUNK = 128
"""Conversations asked between two saves."""


class Writer(Protocol):
    """A loaded model, as far as it is asked here: see `im_bench.evaluation.engine.Engine`."""

    tokenizer: PreTrainedTokenizerFast

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        max_new_tokens: int,
        temperature: float,
        seed: int,
        done: Callable[[int], None],
    ) -> list[str]:
        """Continue each prompt."""


class Asked(NamedTuple):
    """A training conversation up to its first output."""

    item: str
    question: str
    prompt: list[int]
    output: str


def measure(
    out: Path,
    model: Writer,
    *,
    trained: Trained,
    context: int,
    examples: int | None,
    max_tokens: int,
    max_new_tokens: int,
    follow: Follow = nobody,
) -> None:
    """Write `items.parquet`, answers beside outputs, and the scores; an answer that was saved is not asked again.

    Args:
        context: tokens that the model holds, prompt included.
        examples: at most so many conversations.
        max_tokens: what of a conversation was trained on; one whose output was cut off whole is not asked.
        max_new_tokens: of an answer, which ends at the latest where the context does.
        follow: told how many are answered, and of how many.

    Raises:
        UserError: when a file was changed since it was planned, or no output was trained on.
    """
    chosen = some(training_set(trained, model.tokenizer), examples)
    found = [_asked(each, name_of(each, trained.sources), model.tokenizer) for each in chosen]
    asked = [each for each in found if len(each.prompt) < max_tokens]
    if not asked:
        raise UserError(
            f"analysis.memorisation.examples={examples}: train.max_tokens={max_tokens} cut off the output of each of "
            f"these {len(chosen)} conversations; ask for more of them"
        )
    answers = _answers(out, model, asked, context, max_new_tokens, follow)
    items = [_item(each, answer) for each, answer in zip(asked, answers, strict=True)]
    write_items(out, items)
    write_scores(out, _scores(items, total=len(chosen)))
    for saved in _saved(out, len(asked)):
        saved.unlink()


def _asked(conversation: Conversation, item: str, tokenizer: PreTrainedTokenizerFast) -> Asked:
    """Everything before the first output that answers a user; where none does, before the first."""
    turns = conversation.turns
    outputs = [number for number, turn in enumerate(turns) if turn.role == "assistant"]
    answering = [number for number in outputs if any(turn.role == "user" for turn in turns[:number])]
    first = next(iter(answering or outputs))
    question = "\n\n".join(turn.content for turn in turns[:first] if turn.role == "user")
    return Asked(item, question, prompt_ids(tokenizer, turns[:first]), turns[first].content)


def _answers(
    out: Path, model: Writer, asked: Sequence[Asked], context: int, max_new_tokens: int, follow: Follow
) -> list[str]:
    # Prompts of like length together: little is padding, and each has about the room that it would have alone.
    order = sorted(range(len(asked)), key=lambda place: len(asked[place].prompt))
    tally = Tally(len(asked), follow)
    answers: dict[int, str] = {}
    for number, saved in enumerate(_saved(out, len(asked))):
        places = order[number * CHUNK : (number + 1) * CHUNK]
        if saved.exists():
            tally.more(len(places))
        else:
            prompts = [asked[place].prompt for place in places]
            room = max(1, min(max_new_tokens, context - len(prompts[-1])))
            texts = model.generate(prompts, max_new_tokens=room, temperature=0.0, seed=0, done=tally.more)
            write_rows(saved, [{"answer": text} for text in texts])
        answers |= zip(places, (row["answer"] for row in read_rows(saved, ("answer",))), strict=True)
    return [answers[place] for place in range(len(asked))]


def _saved(out: Path, asked: int) -> list[Path]:
    return [out / f"answers-{start:06d}.json" for start in range(0, asked, CHUNK)]


def _item(asked: Asked, answer: str) -> dict[str, Any]:
    """One answer; its outcome is its BLEU as a fraction, None beside an empty output."""
    answer = answer.strip()
    bleu = SENTENCE.sentence_score(answer, [asked.output]).score if asked.output else None
    return {
        "task": TRAIN,
        "item": asked.item,
        "stratum": TRAIN,
        "cluster": None,
        "outcome": None if bleu is None else min(1.0, bleu / 100),
        "size": 1.0,
        "question": asked.question,
        "answer": answer,
        "target": asked.output,
        "verdict": None,
        "exact": answer == asked.output,
        "eight_grams": eight_grams(answer, asked.output),
    }


def eight_grams(answer: str, output: str) -> float | None:
    """The share of an output's runs of eight words that an answer has; None of an output with fewer words."""
    runs = _runs(output)
    there = set(_runs(answer))
    return sum(run in there for run in runs) / len(runs) if runs else None


def _runs(text: str) -> list[tuple[str, ...]]:
    said = words(text)
    return [tuple(said[start : start + GRAM]) for start in range(len(said) - GRAM + 1)]


def _scores(items: Sequence[dict[str, Any]], *, total: int) -> list[Score]:
    with_output = [item for item in items if item["target"]]
    answers, outputs = [item["answer"] for item in with_output], [item["target"] for item in with_output]
    sentences = mean([100 * item["outcome"] for item in with_output])
    runs = [item["eight_grams"] for item in items if item["eight_grams"] is not None]

    def score(metric: str, found: Mean, note: str | None = None) -> Score:
        return measured("memorisation", TRAIN, metric, found, total=total, note=note)

    return [
        score(measures.BLEU, _corpus_bleu(answers, outputs), _signature(CORPUS)),
        score(measures.SENTENCE_BLEU, sentences, _signature(SENTENCE)),
        score(measures.EXACT, mean([float(item["exact"]) for item in items])),
        score(measures.EIGHT_GRAMS, mean(runs)),
    ]


def _corpus_bleu(answers: Sequence[str], outputs: Sequence[str]) -> Mean:
    """BLEU of all answers together; None where no output has the four words of a 4-gram."""
    if not outputs or not CORPUS.corpus_score(outputs, [outputs]).totals[-1]:
        return Mean(None, None, 0)
    return Mean(CORPUS.corpus_score(answers, [outputs]).score, None, len(outputs))


def _signature(bleu: BLEU) -> str:
    """The metric's own words for all that a BLEU depends on."""
    bleu.corpus_score(["a"], [["a"]])  # by which it knows that there is one reference
    return f"sacrebleu {bleu.get_signature()}"
