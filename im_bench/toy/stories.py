"""Short stories of facts and small events, with questions, and passages that give away their last word."""

from random import Random
from typing import NamedTuple

from im_bench.toy.exercises import LEADS
from im_bench.toy.world import World, sentence


class Story(NamedTuple):
    text: str
    questions: tuple[str, ...]
    answers: tuple[str, ...]
    spans: tuple[str, ...]
    """Where in the text each answer is said."""


def story(world: World, rng: Random) -> Story:
    person, friend = rng.sample(world.people, 2)
    creature = rng.choice(world.creatures)
    facts = [*rng.sample(world.about(person), 2), *rng.sample(world.about(creature), 2)]
    met = f"{person} met {friend} {rng.choice(LEADS)}."
    before, after = facts[:2], facts[2:]
    told = [*(sentence(fact.clause) for fact in before), met, f"They saw a {creature}."]
    text = " ".join([*told, *(sentence(fact.clause) for fact in after)])
    asked = rng.sample(facts, 2)
    who = f"Who did {person} meet?"
    return Story(
        text,
        (asked[0].question, who, asked[1].question),
        (asked[0].value, friend, asked[1].value),
        (asked[0].clause, met, asked[1].clause),
    )


def passage(world: World, rng: Random) -> str:
    """Prose without a last stop; the last word is a fact that the passage also mentions."""
    person, creature = rng.choice(world.people), rng.choice(world.creatures)
    lead = rng.choice(LEADS)
    match rng.randrange(3):
        case 0:
            food = world.value(creature, "food")
            start = f"{person} saw a hungry {creature} {lead}. {sentence(f'the {creature} eats {food}')}"
            return f"{start} So {person} gave the {creature} some {food}"
        case 1:
            town = world.value(person, "town")
            return (
                f"{person} lives in {town}. {sentence(lead)[:-1]}, {person} was tired and went home to {town}"
            )
        case _:
            home = world.value(creature, "home")
            start = f"{person} lost a {creature} {lead}. {sentence(f'the {creature} lives in the {home}')}"
            return f"{start} So {person} went to look for the {creature} in the {home}"


def spoken(text: str) -> str:
    """Lower case with spaced punctuation, the way the first LAMBADA files are written."""
    return text.lower().replace(".", " .").replace(",", " ,")
