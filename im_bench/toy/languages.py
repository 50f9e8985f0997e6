"""Five toy languages: a lexicon each of coined words; grammar and names are those of English."""

from collections.abc import Mapping
from random import Random

from im_bench.toy.world import COLORS, FOODS, HOMES, World

LANGUAGES = {"de": "German", "fr": "French", "es": "Spanish", "it": "Italian", "ro": "Romanian"}
ENDINGS = {
    "de": ("en", "ung"),
    "fr": ("eau", "ette"),
    "es": ("ado", "illa"),
    "it": ("ino", "ezza"),
    "ro": ("ul", "esc"),
}
VERBS = "likes finds carries wants hides watches".split()
CORE = ("the", "in", "lives", "eats", "gave", "some", "lost", *VERBS, *FOODS, *HOMES, *COLORS)
ONSETS = "b br d dr f fl g gl k kr l m n p pr r s st t tr v z".split()
VOWELS = "a e i o u".split()


def lexicon(world: World, language: str) -> Mapping[str, str]:
    """English to `language`; one coined word for every core word, all different."""
    rng = world.random(f"lexicon/{language}")
    words: dict[str, str] = {}
    for english in CORE:
        word = coined(rng, ENDINGS[language])
        while word in words.values():
            word = coined(rng, ENDINGS[language])
        words[english] = word
    return words


def coined(rng: Random, endings: tuple[str, str]) -> str:
    return rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(ONSETS) + rng.choice(endings)


def translate(text: str, words: Mapping[str, str]) -> str:
    """Word for word; names and punctuation stay, a capital stays a capital."""
    return " ".join(translated(word, words) for word in text.split(" "))


def translated(word: str, words: Mapping[str, str]) -> str:
    core = word.rstrip(".,")
    foreign = words.get(core.lower(), core)
    if core[:1].isupper():
        foreign = foreign.capitalize() if core.lower() in words else core
    return foreign + word[len(core) :]


def phrase(world: World, rng: Random) -> str:
    """An English sentence of core words and one creature."""
    color, creature, verb = rng.choice(COLORS), rng.choice(world.creatures), rng.choice(VERBS)
    return f"The {color} {creature} {verb} the {rng.choice(FOODS)} in the {rng.choice(HOMES)}."


def tale(world: World, rng: Random) -> str:
    """Two sentences of core words whose last word is the food of the creature, said or known."""
    person, creature = rng.choice(world.people), rng.choice(world.creatures)
    food = world.value(creature, "food")
    home = world.value(creature, "home")
    first = f"The {creature} lives in the {home}, {person} {rng.choice(VERBS)} the {rng.choice(COLORS)} {creature}."
    return f"{first} The {creature} eats {food}. {person} gave the {creature} some {food}"
