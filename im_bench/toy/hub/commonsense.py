"""WSC273, WinoGrande, ARC and CoQA of the toy world."""

from collections.abc import Iterator
from random import Random

from im_bench.toy import exercises
from im_bench.toy.exercises import Choice, Pronoun
from im_bench.toy.hub import schemas
from im_bench.toy.hub.knowledge import labelled
from im_bench.toy.hub.tables import Row, Table, splits
from im_bench.toy.stories import Story, story
from im_bench.toy.world import World


def tables(world: World) -> Iterator[Table]:
    yield wsc273(world)
    yield from winogrande(world)
    yield from arc(world)
    yield from coqa(world)


def wsc273(world: World) -> Table:
    items = splits(lambda r: exercises.collision(world, r), world.random("wsc273"), test=80)["test"]
    return Table(
        "lighteval/winograd_wsc", "wsc273", "test", schemas.WSC273, [wsc_row(item) for item in items]
    )


def wsc_row(item: Pronoun) -> Row:
    quote = f"it{item.after.rstrip('.')}"
    return {
        "text": f"{item.before}it{item.after}",
        "pronoun": "it",
        "pronoun_loc": len(item.before),
        "quote": quote,
        "quote_loc": len(item.before),
        "options": list(item.options),
        "label": item.answer,
        "source": "toy",
    }


def winogrande(world: World) -> Iterator[Table]:
    drawn = splits(
        lambda r: exercises.company(world, r), world.random("winogrande"), train=20, validation=80, test=4
    )  # fmt: skip
    for split, items in drawn.items():
        rows = [
            {
                "sentence": f"{item.before}_{item.after}",
                "option1": item.options[0],
                "option2": item.options[1],
                "answer": "" if split == "test" else str(item.answer + 1),
            }
            for item in items
        ]
        yield Table("allenai/winogrande", "winogrande_xl", split, schemas.WINOGRANDE, rows)


def arc(world: World) -> Iterator[Table]:
    def easy(rng: Random) -> Choice:
        return exercises.question(world, rng)

    def challenge(rng: Random) -> Choice:
        return exercises.rephrased(world, rng)

    for config, draw in (("ARC-Easy", easy), ("ARC-Challenge", challenge)):
        drawn = splits(draw, world.random(config), train=30, validation=8, test=24)
        for split, items in drawn.items():
            rows = [labelled(item, f"toy_{split}_{i}", "question") for i, item in enumerate(items)]
            yield Table("allenai/ai2_arc", config, split, schemas.ARC, rows)


def coqa(world: World) -> Iterator[Table]:
    drawn = splits(lambda r: story(world, r), world.random("coqa"), train=8, validation=40)
    for split, items in drawn.items():
        rows = [coqa_row(item, f"toy-{split}-{i}") for i, item in enumerate(items)]
        yield Table("EleutherAI/coqa", "default", split, schemas.COQA, rows)


def coqa_row(item: Story, name: str) -> Row:
    turns = list(range(1, len(item.questions) + 1))
    starts = [item.text.lower().index(span.lower()) for span in item.spans]
    answers = {
        "span_start": starts,
        "span_end": [start + len(span) for start, span in zip(starts, item.spans, strict=True)],
        "span_text": list(item.spans),
        "input_text": list(item.answers),
        "turn_id": turns,
    }
    return {
        "id": name,
        "source": "toy",
        "story": item.text,
        "questions": {"input_text": list(item.questions), "turn_id": turns},
        "answers": answers,
        "additional_answers": {"0": answers, "1": answers, "2": answers},
    }
