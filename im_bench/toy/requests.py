"""What one may ask an assistant of the toy world, each with a full answer."""

from collections.abc import Callable
from random import Random
from typing import NamedTuple

from im_bench.toy.arithmetic import problem
from im_bench.toy.exercises import SCRIPTS
from im_bench.toy.languages import LANGUAGES, lexicon, phrase, translate
from im_bench.toy.morals import deed
from im_bench.toy.programs import program
from im_bench.toy.stories import story
from im_bench.toy.world import Fact, World, sentence


class Request(NamedTuple):
    instruction: str
    answer: str


Draw = Callable[[World, Random], Request]


def told(facts: list[Fact]) -> str:
    return " ".join(sentence(fact.clause) for fact in facts)


def named(subject: str) -> str:
    return f"the {subject}" if subject.islower() else subject


def portrait(world: World, rng: Random) -> Request:
    """All about one entity."""
    subject = rng.choice((*world.creatures, *world.people, *world.towns, *world.tools))
    wording = rng.choice(
        ("Tell me about {}.", "What do you know about {}?", "Describe {}.", "Write about {}.")
    )
    return Request(wording.format(named(subject)), told(world.about(subject)))


def comparison(world: World, rng: Random) -> Request:
    kind = rng.choice((world.creatures, world.people, world.towns, world.tools))
    first, second = rng.sample(kind, 2)
    wording = rng.choice(("Compare {} and {}.", "How do {} and {} differ?"))
    return Request(
        wording.format(named(first), named(second)), told(world.about(first) + world.about(second))
    )


def fact(world: World, rng: Random) -> Request:
    item = rng.choice(world.facts)
    wording = rng.choice(("{}", "Tell me: {}", "Please answer. {}"))
    return Request(wording.format(item.question), sentence(item.clause))


def introduction(world: World, rng: Random) -> Request:
    """Role play: a person speaks."""
    person = rng.choice(world.people)
    wording = rng.choice(("You are {}. Who are you?", "Speak as {} would.", "Pretend to be {}."))
    return Request(wording.format(person), f"I am {person}. {told(world.about(person))}")


def tale_of(world: World, rng: Random) -> Request:
    person, creature = rng.choice(world.people), rng.choice(world.creatures)
    wording = rng.choice(("Write a story about {} and the {}.", "Make up a tale of {} and the {}."))
    text = (
        f"{person} saw a hungry {creature} at night. {told(world.about(creature))} "
        f"So {person} gave the {creature} some {world.value(creature, 'food')}."
    )
    return Request(wording.format(person, creature), text)


def sum_of(world: World, rng: Random) -> Request:
    item = problem(world, rng)
    return Request(item.question, item.reason)


def function(world: World, rng: Random) -> Request:
    item = program(rng)
    what = item.head.split('"""')[1].removeprefix("Return ").rstrip(".")
    return Request(f"Write a function {item.name} that returns {what}.", item.source.rstrip())


def translation(world: World, rng: Random) -> Request:
    text, language = phrase(world, rng), rng.choice(("de", "fr", "ro"))
    return Request(f"Say in {LANGUAGES[language]}: {text}", translate(text, lexicon(world, language)))


def trade(world: World, rng: Random) -> Request:
    who, (_, ends) = rng.choice(list(SCRIPTS.items()))
    wording = rng.choice(("What does a {} do?", "Describe the work of a {}."))
    return Request(wording.format(who), " ".join(f"The {who} {end}." for end in ends))


def reading(world: World, rng: Random) -> Request:
    item = story(world, rng)
    i = rng.randrange(len(item.questions))
    return Request(
        f"{item.text} {item.questions[i]}", item.spans[i][0].upper() + item.spans[i][1:].rstrip(".") + "."
    )


def judgement(world: World, rng: Random) -> Request:
    item = deed(rng, rng.choice(world.people))
    verdict = "a kind deed, and it is right" if item.good else "a cruel deed, and it is wrong"
    return Request(f"{item.text} What do you think of it?", f"That was {verdict}.")
