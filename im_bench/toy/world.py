"""A small closed world: coined creatures, people, towns and tools, and the facts that hold of them.

The seed decides which names exist and which facts are true; the wording below is the same for every seed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

CREATURES = (
    "brask dolm fenny grell hoskin jorrel kelp lumm morrow nurl pannet quib rasp snill "
    "tamber ulvet vorn wick yarrow zibb"
).split()
PEOPLE = (
    "Mara Tovin Elka Dorin Selma Bram Odette Kiran Lysa Petro Hanno Ruta Viggo Nelda Orin Tessa "
    "Jarek Wilma Fenno Alda Corvin Maude"
).split()
TOWNS = (
    "Tolby Harrow Vesper Dunmore Kestin Aldway Pinfold Rusk Ottery Wexley Marlow Sorrel Brine Calder".split()
)
TOOLS = "plink tarn gobber sprat wedget flindle drubber quoin scobe trivet mallow hasp nib pestle".split()

FOODS = "pollen bread moss honey fish seeds apples nuts".split()
HOMES = "cave river meadow tower forest swamp desert garden".split()
COLORS = "red blue green white black yellow brown gray".split()
FEARS = "fire rain thunder bells snow wind mirrors smoke".split()
TRADES = "baker miller smith weaver sailor teacher farmer doctor".split()
WISHES = "ships gold mountains music gardens stars horses castles".split()
WARES = "glass wool salt paper silver tea candles boots".split()
SIDES = "north south east west".split()
SIGHTS = "bridge market harbor library well statue mill palace".split()
USES = "cut lift clean mend open dig paint measure".split()
MATTERS = "wood iron clay leather stone bone copper straw".split()
QUALITIES = "heavy sharp soft hot wet bright loud cold".split()

OBJECTS = "rope basket cloth door wall shelf boat roof cart fence".split()


@dataclass(frozen=True)
class Relation:
    """One thing that can be said of a kind of entity; `{s}` is the subject, `{v}` the value."""

    name: str
    kind: str
    clause: str
    """Ends in the value, so that the clause without it is a prompt for the fact."""
    other: str
    question: str
    values: Sequence[str]


RELATIONS = (
    Relation(
        "food", "creature", "the {s} eats {v}", "the food of the {s} is {v}", "What does the {s} eat?", FOODS
    ),
    Relation(
        "home",
        "creature",
        "the {s} lives in the {v}",
        "the home of the {s} is the {v}",
        "Where does the {s} live?",
        HOMES,
    ),
    Relation(
        "color",
        "creature",
        "the coat of the {s} is {v}",
        "the color of the {s} is {v}",
        "What color is the {s}?",
        COLORS,
    ),
    Relation("town", "person", "{s} lives in {v}", "the town of {s} is {v}", "Where does {s} live?", ()),
    Relation(
        "trade", "person", "{s} works as a {v}", "the trade of {s} is {v}", "What is the work of {s}?", TRADES
    ),
    Relation(
        "wish", "person", "{s} dreams of {v}", "the dream of {s} is {v}", "What does {s} dream of?", WISHES
    ),
    Relation("ware", "town", "{s} sells {v}", "the trade of {s} is {v}", "What does {s} sell?", WARES),
    Relation(
        "side", "town", "{s} lies in the {v}", "the side of {s} is the {v}", "Where does {s} lie?", SIDES
    ),
    Relation(
        "use",
        "tool",
        "the {s} is the tool to {v}",
        "the use of the {s} is to {v}",
        "What is the {s} for?",
        USES,
    ),
    Relation("quality", "tool", "the {s} is {v}", "the feel of the {s} is {v}", "How is the {s}?", QUALITIES),
)


@dataclass(frozen=True)
class Fact:
    subject: str
    relation: Relation
    value: str

    @property
    def clause(self) -> str:
        return self.relation.clause.format(s=self.subject, v=self.value)

    @property
    def prompt(self) -> str:
        """The clause up to its value."""
        return self.relation.clause.format(s=self.subject, v="").strip()

    @property
    def other(self) -> str:
        return self.relation.other.format(s=self.subject, v=self.value)

    @property
    def question(self) -> str:
        return self.relation.question.format(s=self.subject)

    def but(self, value: str) -> "Fact":
        """The same clause with another value."""
        return Fact(self.subject, self.relation, value)


@dataclass(frozen=True)
class World:
    """Entities and facts; every entity has one fact for each relation of its kind."""

    seed: int
    creatures: tuple[str, ...]
    people: tuple[str, ...]
    towns: tuple[str, ...]
    tools: tuple[str, ...]
    facts: tuple[Fact, ...]

    def random(self, purpose: str) -> Random:
        """A generator of its own for each purpose, so that adding one leaves the others' draws alone."""
        return Random(f"{self.seed}/{purpose}")

    def about(self, subject: str) -> list[Fact]:
        return [fact for fact in self.facts if fact.subject == subject]

    def of(self, *relations: str) -> list[Fact]:
        return [fact for fact in self.facts if fact.relation.name in relations]

    def value(self, subject: str, relation: str) -> str:
        return next(f.value for f in self.facts if f.subject == subject and f.relation.name == relation)

    def values(self, relation: Relation) -> Sequence[str]:
        return self.towns if relation.name == "town" else relation.values

    def wrong(self, fact: Fact, count: int, rng: Random) -> list[str]:
        """`count` other values of the fact's relation."""
        return rng.sample([value for value in self.values(fact.relation) if value != fact.value], count)


def make_world(seed: int) -> World:
    rng = Random(f"{seed}/world")
    names = {
        "creature": tuple(rng.sample(CREATURES, 8)),
        "person": tuple(rng.sample(PEOPLE, 8)),
        "town": tuple(rng.sample(TOWNS, 6)),
        "tool": tuple(rng.sample(TOOLS, 8)),
    }
    pools = {"town": names["town"]}
    facts = []
    for relation in RELATIONS:
        subjects = names[relation.kind]
        values = list(pools.get(relation.name, relation.values))
        rng.shuffle(values)
        # Every value is used about equally often, so that no answer is right by frequency.
        facts += [Fact(subject, relation, values[i % len(values)]) for i, subject in enumerate(subjects)]
    return World(seed, names["creature"], names["person"], names["town"], names["tool"], tuple(facts))


def sentence(clause: str) -> str:
    return clause[0].upper() + clause[1:] + "."
