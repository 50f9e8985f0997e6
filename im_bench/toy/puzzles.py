"""Puzzles in the manner of BIG-Bench Hard: an input, a line of reasoning and a target, for each of its 27 kinds."""

from collections.abc import Callable
from random import Random
from typing import NamedTuple

from im_bench.toy.exercises import Choice, completion, question, rephrased, shuffled
from im_bench.toy.morals import deed, saying
from im_bench.toy.world import COLORS, FOODS, OBJECTS, World, sentence


class Puzzle(NamedTuple):
    input: str
    reason: str
    target: str

    @property
    def worked(self) -> str:
        return f"{self.reason} So the answer is {self.target}."


def lettered(choice: Choice, head: str = "") -> Puzzle:
    """Options under (A), (B)...; the reason says the right option before its letter."""
    letters = "ABCDEFG"[: len(choice.choices)]
    options = "\n".join(f"({letter}) {text}" for letter, text in zip(letters, choice.choices, strict=True))
    target = f"({letters[choice.answer]})"
    return Puzzle(f"{head}{choice.text}\nOptions:\n{options}", f"It is {choice.right}.", target)


def fact_choice(world: World, rng: Random) -> Puzzle:
    return lettered(question(world, rng))


def completed(world: World, rng: Random) -> Puzzle:
    return lettered(completion(world, rng))


def reworded(world: World, rng: Random) -> Puzzle:
    return lettered(rephrased(world, rng))


def boolean(world: World, rng: Random) -> Puzzle:
    left, right = rng.choice((True, False)), rng.choice((True, False))
    operator = rng.choice(("and", "or"))
    value = left and right if operator == "and" else left or right
    if rng.random() < 0.5:
        return Puzzle(
            f"not ( {left} {operator} {right} ) is", f"{left} {operator} {right} is {value}.", str(not value)
        )
    return Puzzle(f"{left} {operator} {right} is", f"{left} {operator} {right} is {value}.", str(value))


def blame(world: World, rng: Random) -> Puzzle:
    act = deed(rng, rng.choice(world.people))
    reason = "That was kind." if act.good else "That was cruel."
    return Puzzle(f"{act.text} Was it wrong?\nOptions:\n- Yes\n- No", reason, "No" if act.good else "Yes")


def brackets(world: World, rng: Random) -> Puzzle:
    pairs = rng.sample(("()", "[]", "{}", "<>"), 2)
    opened = f"{pairs[0][0]} {pairs[1][0]}"
    rest = f"{pairs[1][1]} {pairs[0][1]}"
    return Puzzle(f"Close the brackets. Input: {opened}", "Close the last one first.", rest)


def plausible(world: World, rng: Random, yes: str = "yes", no: str = "no") -> Puzzle:
    fact = rng.choice(world.facts)
    holds = rng.random() < 0.5
    said = fact if holds else fact.but(world.wrong(fact, 1, rng)[0])
    return Puzzle(f'Is the following sentence plausible? "{sentence(said.clause)}"', sentence(fact.clause),
                  yes if holds else no)  # fmt: skip


def argument(world: World, rng: Random) -> Puzzle:
    item = plausible(world, rng, "valid", "invalid")
    said = item.input.split('"')[1]
    return Puzzle(
        f'"{said}" Is the argument, given what is known, valid or invalid?', item.reason, item.target
    )


def liars(world: World, rng: Random) -> Puzzle:
    first, second = rng.sample(world.people, 2)
    truthful, says = rng.random() < 0.5, rng.random() < 0.5
    verbs = {True: "tells the truth", False: "lies"}
    text = f"{first} {verbs[truthful]}. {second} says {first} {verbs[says]}. Does {second} tell the truth?"
    return Puzzle(text, f"{first} {verbs[truthful]}.", "Yes" if truthful == says else "No")


def steps(world: World, rng: Random) -> Puzzle:
    ahead, back = rng.randint(1, 6), rng.randint(1, 6)
    back = ahead if rng.random() < 0.5 else back
    text = f"Take {ahead} steps. Turn around. Take {back} steps. Do you return to the start?\nOptions:\n- Yes\n- No"
    return Puzzle(text, f"{ahead} steps and {back} steps.", "Yes" if ahead == back else "No")


def total(world: World, rng: Random) -> Puzzle:
    a, b = rng.randint(1, 5), rng.randint(1, 5)
    return Puzzle(f"({a} + {b}) =", f"{a} + {b} = {a + b}.", str(a + b))


def counted(world: World, rng: Random) -> Puzzle:
    things = rng.sample(FOODS, rng.randint(2, 5))
    return Puzzle(
        f"I have {', '.join(things)}. How many foods do I have?",
        f"There are {len(things)}.",
        str(len(things)),
    )


def colored(world: World, rng: Random) -> Puzzle:
    things, colors = rng.sample(OBJECTS, 2), rng.sample(COLORS, 2)
    text = f"There is a {colors[0]} {things[0]} and a {colors[1]} {things[1]}. What color is the {things[0]}?"
    return lettered(shuffled(text, colors[0], [colors[1]], rng))


def sorted_words(world: World, rng: Random) -> Puzzle:
    words = rng.sample(FOODS + OBJECTS, 2)
    order = " ".join(sorted(words))
    return Puzzle(f"Sort the words. List: {' '.join(words)}", "Look at the first letters.", order)


def sarcasm(world: World, rng: Random) -> Puzzle:
    said = saying(world, rng)
    while said.good:
        said = saying(world, rng)
    kind = saying(world, rng)
    while not kind.good:
        kind = saying(world, rng)
    return lettered(shuffled("Which saying is cruel?", said.text, [kind.text], rng))


KINDS: dict[str, Callable[[World, Random], Puzzle]] = {
    "boolean_expressions": boolean,
    "causal_judgement": blame,
    "date_understanding": fact_choice,
    "disambiguation_qa": completed,
    "dyck_languages": brackets,
    "formal_fallacies": argument,
    "geometric_shapes": fact_choice,
    "hyperbaton": completed,
    "logical_deduction_five_objects": reworded,
    "logical_deduction_seven_objects": reworded,
    "logical_deduction_three_objects": reworded,
    "movie_recommendation": fact_choice,
    "multistep_arithmetic_two": total,
    "navigate": steps,
    "object_counting": counted,
    "penguins_in_a_table": completed,
    "reasoning_about_colored_objects": colored,
    "ruin_names": fact_choice,
    "salient_translation_error_detection": completed,
    "snarks": sarcasm,
    "sports_understanding": plausible,
    "temporal_sequences": fact_choice,
    "tracking_shuffled_objects_five_objects": reworded,
    "tracking_shuffled_objects_seven_objects": reworded,
    "tracking_shuffled_objects_three_objects": reworded,
    "web_of_lies": liars,
    "word_sorting": sorted_words,
}
