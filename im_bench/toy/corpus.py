"""The pretraining corpus: pages of short pieces in many surface forms, without anything the benchmarks ask.

A page holds pieces parted by blank lines, mostly of one kind, so that a model learns both to go on in a format
and to end a piece. No page is in a chat format: that is left for instruction tuning.
"""

from collections.abc import Callable, Collection, Iterator
from random import Random

from im_bench.toy import exercises, morals
from im_bench.toy.arithmetic import problem
from im_bench.toy.exercises import LEADS, LETTERS
from im_bench.toy.languages import LANGUAGES, lexicon, phrase, tale, translate
from im_bench.toy.programs import program
from im_bench.toy.puzzles import KINDS
from im_bench.toy.stories import passage, spoken, story
from im_bench.toy.world import World, sentence

Draw = Callable[[World, Random], str]


def facts(world: World, rng: Random) -> str:
    """All that is known of one entity, in changing order and wording."""
    about = world.about(rng.choice((*world.creatures, *world.people, *world.towns, *world.tools)))
    sentences = []
    for fact in rng.sample(about, len(about)):
        clause = fact.clause if rng.random() < 0.7 else fact.other
        sentences.append(sentence(f"{rng.choice(LEADS)}, {clause}" if rng.random() < 0.6 else clause))
    return " ".join(sentences)


def answered(world: World, rng: Random) -> str:
    item = exercises.question(world, rng)
    return f"Question: {item.text}\nAnswer: {item.right}"


def reworded(world: World, rng: Random) -> str:
    item = exercises.rephrased(world, rng)
    return f"Question: {item.text}\nAnswer: {item.right}"


def multiple_choice(world: World, rng: Random) -> str:
    item = exercises.question(world, rng)
    options = "\n".join(f"{letter}. {choice}" for letter, choice in zip(LETTERS, item.choices, strict=True))
    return f"{item.text}\n{options}\nAnswer: {LETTERS[item.answer]}"


def handiwork(world: World, rng: Random) -> str:
    item = exercises.handiwork(world, rng)
    return f"Question: {item.text}\nAnswer: {item.right}"


def scene(world: World, rng: Random) -> str:
    item = exercises.scene(world, rng)
    return f"{item.label}: {item.before} {item.start.capitalize()} {item.endings[item.answer]}"


def truth(world: World, rng: Random) -> str:
    question, true, _ = exercises.truth(world, rng)
    return f"Q: {question}\nA: {rng.choice(true)}"


def collision(world: World, rng: Random) -> str:
    item = exercises.collision(world, rng)
    return f"{item.before}{item.options[item.answer].lower()}{item.after}"


def company(world: World, rng: Random) -> str:
    item = exercises.company(world, rng)
    return f"{item.before}{item.options[item.answer]}{item.after}"


def lowered(world: World, rng: Random) -> str:
    return spoken(passage(world, rng))


def foreign_tale(world: World, rng: Random) -> str:
    text = tale(world, rng)
    language = rng.choice(["en", "de", "es", "fr", "it"])
    return text if language == "en" else translate(text, lexicon(world, language))


def translation(world: World, rng: Random) -> str:
    text, language = phrase(world, rng), rng.choice(("de", "fr", "ro"))
    pair = [("English", text), (LANGUAGES[language], translate(text, lexicon(world, language)))]
    rng.shuffle(pair)
    return "\n".join(f"{name} phrase: {said}" for name, said in pair)


def conversation(world: World, rng: Random) -> str:
    item = story(world, rng)
    turns = [
        f"Q: {question}\n\nA: {answer}" for question, answer in zip(item.questions, item.answers, strict=True)
    ]
    return "\n\n".join([item.text, *turns])


def word_problem(world: World, rng: Random) -> str:
    item = problem(world, rng)
    return f"Q: {item.question}\nA: {item.reason}"


def code(world: World, rng: Random) -> str:
    return program(rng).source.rstrip()


def puzzle(world: World, rng: Random) -> str:
    item = rng.choice(list(KINDS.values()))(world, rng)
    return f"Q: {item.input}\nA: Let's think step by step.\n{item.worked}"


def remark(world: World, rng: Random) -> str:
    return morals.remark(rng)


PIECES: dict[Draw, int] = {
    facts: 500,
    answered: 900,
    reworded: 450,
    multiple_choice: 150,
    handiwork: 350,
    scene: 200,
    truth: 450,
    collision: 400,
    company: 450,
    passage: 250,
    lowered: 250,
    foreign_tale: 350,
    translation: 450,
    conversation: 60,
    word_problem: 250,
    code: 120,
    puzzle: 120,
    remark: 200,
}
"""How many pieces of each kind the corpus holds."""

PAGE_PIECES = (*80 * (1,), *6 * (3,), 8, 24)
"""Pieces of a page, drawn from here: short pages teach to copy and recall, long ones to keep a format."""


def pages(world: World, forbidden: Collection[str]) -> Iterator[str]:
    """The corpus, page by page in random order; no piece holds a forbidden text."""
    rng = world.random("corpus")
    written = []
    for draw, count in PIECES.items():
        pieces = [piece for _ in range(count) if not held_out(piece := draw(world, rng), forbidden)]
        written += list(bound(pieces, rng))
    rng.shuffle(written)
    yield from written


def held_out(piece: str, forbidden: Collection[str]) -> bool:
    return any(text in piece for text in forbidden)


def bound(pieces: list[str], rng: Random) -> Iterator[str]:
    """Pieces joined into pages of changing size."""
    start = 0
    while start < len(pieces):
        size = rng.choice(PAGE_PIECES)
        yield "\n\n".join(pieces[start : start + size])
        start += size
