"""MMLU, PIQA, OpenBookQA, HellaSwag and LAMBADA of the toy world."""

from collections.abc import Iterator

from im_bench.evaluation.result_files import SUBJECTS
from im_bench.toy import exercises
from im_bench.toy.exercises import LETTERS, Choice, Scene
from im_bench.toy.hub import schemas
from im_bench.toy.hub.tables import Row, Table, splits
from im_bench.toy.stories import passage, spoken
from im_bench.toy.world import World


def tables(world: World) -> Iterator[Table]:
    yield from mmlu(world)
    yield from piqa(world)
    yield from openbookqa(world)
    yield from hellaswag(world)
    yield from lambada(world)


def mmlu(world: World) -> Iterator[Table]:
    """The official subjects are kept as names only; each asks anything about the world."""
    rng = world.random("mmlu")
    size = len(SUBJECTS)
    drawn = splits(lambda r: exercises.question(world, r), rng, test=2 * size, validation=size, dev=5 * size)
    for split, items in drawn.items():
        share = len(items) // size
        for i, subject in enumerate(SUBJECTS):
            rows = [
                {
                    "question": item.text,
                    "subject": subject,
                    "choices": list(item.choices),
                    "answer": item.answer,
                }
                for item in items[i * share : (i + 1) * share]
            ]
            yield Table("cais/mmlu", subject, split, schemas.MMLU, rows)


def piqa(world: World) -> Iterator[Table]:
    drawn = splits(
        lambda r: exercises.handiwork(world, r), world.random("piqa"), train=30, validation=60, test=4
    )  # fmt: skip
    for split, items in drawn.items():
        rows = [
            {
                "goal": item.text,
                "sol1": item.choices[0],
                "sol2": item.choices[1],
                "label": -1 if split == "test" else item.answer,
            }
            for item in items
        ]
        yield Table("baber/piqa", "default", split, schemas.PIQA, rows)


def labelled(item: Choice, name: str, stem: str) -> Row:
    """A row of ARC or OpenBookQA."""
    choices = {"text": list(item.choices), "label": list(LETTERS[: len(item.choices)])}
    return {"id": name, stem: item.text, "choices": choices, "answerKey": LETTERS[item.answer]}


def openbookqa(world: World) -> Iterator[Table]:
    drawn = splits(
        lambda r: exercises.completion(world, r), world.random("openbookqa"), train=20, validation=20, test=60
    )
    for split, items in drawn.items():
        rows = [labelled(item, f"{split}-{i}", "question_stem") for i, item in enumerate(items)]
        yield Table("allenai/openbookqa", "main", split, schemas.OPENBOOKQA, rows)


def hellaswag(world: World) -> Iterator[Table]:
    drawn = splits(
        lambda r: exercises.scene(world, r), world.random("hellaswag"), train=30, validation=40, test=4
    )  # fmt: skip
    for split, items in drawn.items():
        rows = [hellaswag_row(item, i, split) for i, item in enumerate(items)]
        yield Table("Rowan/hellaswag", "default", split, schemas.HELLASWAG, rows)


def hellaswag_row(item: Scene, i: int, split: str) -> Row:
    return {
        "ind": i,
        "activity_label": item.label,
        "ctx_a": item.before,
        "ctx_b": item.start,
        "ctx": f"{item.before} {item.start}",
        "endings": list(item.endings),
        "source_id": f"toy~{split}-{i}",
        "split": {"validation": "val"}.get(split, split),
        "split_type": "indomain",
        "label": "" if split == "test" else str(item.answer),
    }


def lambada(world: World) -> Iterator[Table]:
    drawn = splits(
        lambda r: passage(world, r), world.random("lambada"), openai=50, standard=50, validation=8
    )  # fmt: skip
    rows: dict[str, list[Row]] = {
        split: [{"text": spoken(text), "domain": None} for text in drawn[split]]
        for split in ("standard", "validation")
    }
    openai = [{"text": text} for text in drawn["openai"]]
    yield Table("EleutherAI/lambada_openai", "default", "test", schemas.LAMBADA_OPENAI, openai)
    yield Table("cimec/lambada", "plain_text", "test", schemas.LAMBADA, rows["standard"])
    yield Table("cimec/lambada", "plain_text", "validation", schemas.LAMBADA, rows["validation"])
