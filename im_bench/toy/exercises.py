"""Exercises on the facts of the world: multiple choice, completions and pronouns.

Every function draws one exercise; the benchmarks and the corpus draw from the same functions, and the corpus
leaves out what the benchmarks ask.
"""

from random import Random
from typing import NamedTuple

from im_bench.toy.world import OBJECTS, TRADES, Fact, World, sentence

LEADS = (
    "in winter, in summer, after rain, at night, at noon, in the evening, on a feast day, in the old days, "
    "on most days, before sunrise, after dinner, during a storm"
).split(", ")
LETTERS = "ABCD"

SCRIPTS = {
    "baker": (
        "Baking",
        ("puts the dough into the oven", "makes warm bread from flour", "sells cakes and rolls"),
    ),
    "miller": (
        "Milling",
        ("pours the grain into the mill", "fills a sack with flour", "turns the great wheel"),
    ),
    "smith": ("Forging", ("beats the hot iron on the anvil", "blows on the coals", "bends a horse shoe")),
    "weaver": ("Weaving", ("pulls the thread through the loom", "winds the yarn", "folds the new cloth")),
    "sailor": ("Sailing", ("sets the sails of the boat", "ties a rope to the mast", "steers by the stars")),
    "teacher": (
        "Teaching",
        ("writes a word on the board", "reads to the class", "asks the pupils a question"),
    ),
    "farmer": ("Farming", ("drives the cows to the field", "plants a row of beans", "brings in the hay")),
    "doctor": ("Healing", ("looks at the sore leg", "gives the sick child some drops", "binds the wound")),
}
BLOWS = "fell on,rolled over,stood beside,landed near,hung above,leaned on".split(",")


class Choice(NamedTuple):
    """A question with its choices, the right one at `answer`."""

    text: str
    choices: tuple[str, ...]
    answer: int

    @property
    def right(self) -> str:
        return self.choices[self.answer]


def shuffled(text: str, right: str, wrong: list[str], rng: Random) -> Choice:
    choices = [right, *wrong]
    rng.shuffle(choices)
    return Choice(text, tuple(choices), choices.index(right))


def question(world: World, rng: Random, fact: Fact | None = None) -> Choice:
    """A fact asked for with four values to choose from."""
    fact = fact or rng.choice(world.facts)
    text = sentence(f"{rng.choice(LEADS)}, {fact.question[0].lower() + fact.question[1:-1]}")[:-1] + "?"
    if fact.subject in (*world.people, *world.towns):
        text = text.replace(fact.subject.lower(), fact.subject)
    return shuffled(text, fact.value, world.wrong(fact, 3, rng), rng)


def rephrased(world: World, rng: Random) -> Choice:
    """A fact asked for in its other wording."""
    fact = rng.choice(world.facts)
    text = f"{sentence(rng.choice(LEADS))[:-1]}, what is {fact.other.split(' is ')[0]}?"
    return shuffled(text, fact.value, world.wrong(fact, 3, rng), rng)


def completion(world: World, rng: Random) -> Choice:
    """A clause without its value, and four values."""
    fact = rng.choice(world.facts)
    return shuffled(
        sentence(f"{rng.choice(LEADS)}, {fact.prompt}")[:-1], fact.value, world.wrong(fact, 3, rng), rng
    )


def handiwork(world: World, rng: Random) -> Choice:
    """A way to do something, with the right tool and with another."""
    fact, thing, lead = rng.choice(world.of("use")), rng.choice(OBJECTS), rng.choice(LEADS)
    other = rng.choice([tool for tool in world.tools if tool != fact.subject])
    right, wrong = (f"Take the {tool} and {fact.value} it." for tool in (fact.subject, other))
    return shuffled(f"How do you {fact.value} a {thing} {lead}?", right, [wrong], rng)


class Scene(NamedTuple):
    label: str
    before: str
    start: str
    endings: tuple[str, ...]
    answer: int


def scene(world: World, rng: Random) -> Scene:
    """What someone of a trade does next."""
    trades = rng.sample(TRADES, 4)
    label, ends = SCRIPTS[trades[0]]
    endings = [f"{rng.choice(SCRIPTS[trade][1])}." for trade in trades]
    choice = shuffled("", endings[0], endings[1:], rng)
    before = f"{sentence(rng.choice(LEADS))[:-1]}, {rng.choice(world.people)} works with a {trades[0]}."
    return Scene(label, before, f"the {trades[0]}", choice.choices, choice.answer)


def truth(world: World, rng: Random) -> tuple[str, list[str], list[str]]:
    """A question on an entity, with two true and two false things to say of it."""
    subject = rng.choice((*world.creatures, *world.people, *world.towns, *world.tools))
    facts = rng.sample(world.about(subject), 2)
    name = f"the {subject}" if subject.islower() else subject
    false = [sentence(fact.but(world.wrong(fact, 1, rng)[0]).clause) for fact in facts]
    text = f"{sentence(rng.choice(LEADS))[:-1]}, what can be said of {name}?"
    return text, [sentence(fact.clause) for fact in facts], false


class Pronoun(NamedTuple):
    """`before` + an option + `after` is a sentence; the right option is the first or the second named."""

    before: str
    options: tuple[str, str]
    after: str
    answer: int


def collision(world: World, rng: Random) -> Pronoun:
    """Two tools, and a reason that holds of one of them."""
    first, second = rng.sample(world.of("quality"), 2)
    answer = rng.randrange(2)
    blow = rng.choice(BLOWS)
    before = f"The {first.subject} {blow} the {second.subject} because "
    options = (f"The {first.subject}", f"The {second.subject}")
    return Pronoun(before, options, f" is {(first, second)[answer].value}.", answer)


def company(world: World, rng: Random) -> Pronoun:
    """Two people, and something that holds of one of them."""
    relation = rng.choice(("wish", "town", "trade"))
    first, second = rng.sample(world.of(relation), 2)
    while first.value == second.value:
        first, second = rng.sample(world.of(relation), 2)
    answer = rng.randrange(2)
    options = (first.subject, second.subject)
    before = f"{sentence(rng.choice(LEADS))[:-1]}, {options[0]} met {options[1]}, and "
    return Pronoun(before, options, f"{(first, second)[answer].clause[len(options[answer]) :]}.", answer)
