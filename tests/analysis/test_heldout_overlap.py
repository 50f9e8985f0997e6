"""Which held-out conversations stand in a training set."""

from im_bench.analysis.overlap import standing
from im_bench.data.conversations import Conversation, Turn

STORY = "The old miller walked to the river with a sack of flour and sold it to the baker for six coins."
OTHER = "A young sailor tied the boat to a post and slept until the storm had gone over the hills to the sea."


def conversation(*contents: str, system: str | None = None) -> Conversation:
    roles = ("user", "assistant")
    turns = [Turn(roles[number % 2], content) for number, content in enumerate(contents)]
    return Conversation(0, (*([Turn("system", system)] if system else []), *turns))


def test_equal_conversations_are_found_whatever_their_white_space_and_system_turn() -> None:
    held = [conversation("Name a\n fruit.", "An  apple."), conversation("Name a fruit.", "A pear.")]
    trained = [conversation("Name a fruit.", "An apple.", system="Be brief.")]
    assert standing(held, trained) == [True, False]


def test_instruction_and_output_do_not_change_places() -> None:
    assert standing([conversation("a", "b")], [conversation("b", "a")]) == [False]


def test_one_turn_of_several_is_not_the_conversation() -> None:
    assert standing([conversation("a", "b")], [conversation("a", "b", "c", "d")]) == [False]


def test_a_conversation_most_of_whose_words_are_in_shared_runs_is_found() -> None:
    held = conversation("Tell me a story.", STORY)
    assert standing([held], [conversation("What happened?", f"{STORY} {OTHER}")]) == [True]
    # Eight of its twelve words are in a shared run; seven are no run.
    start = " ".join(STORY.split()[:8])
    short = conversation("Say it now, please.", start)
    assert standing([short], [conversation("?", f"{start} to the north.")]) == [True]
    shorter = conversation("Say it now, please.", " ".join(STORY.split()[:7]))
    assert standing([shorter], [conversation("?", f"{start} to the north.")]) == [False]


def test_what_shares_less_than_half_is_not_found() -> None:
    held = conversation("Tell me two stories.", f"{STORY} {OTHER}")
    assert standing([held], [conversation("What happened?", " ".join(STORY.split()[:12]))]) == [False]


def test_without_a_training_set_none_stands_in_it() -> None:
    assert standing([conversation("a", "b")], []) == [False]
    assert standing([], [conversation("a", "b")]) == []


def test_training_sets_are_looked_through_to_their_end(monkeypatch) -> None:
    monkeypatch.setattr("im_bench.analysis.overlap.AT_ONCE", 2)
    trained = [conversation(f"Question {number}?", f"{number} {OTHER}") for number in range(5)]
    held = [conversation("And this?", STORY), conversation("Last?", f"4 {OTHER}")]
    assert standing(held, [*trained, conversation("Long?", f"{STORY} {OTHER}")]) == [True, True]
    assert standing(held, trained) == [False, True]
