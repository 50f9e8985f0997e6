"""The offline judge, by hand."""

import math

import pytest

from im_bench.config import Overlap
from im_bench.judging import open_judge
from im_bench.judging.judge import Comparison, Rating, Reply, Request
from im_bench.judging.overlap import NOTE, OverlapJudge, token_f1


def asked(subject: Rating | Comparison, *, top_logprobs: int = 0) -> Request:
    return Request(
        [{"role": "user", "content": "not read"}], subject, max_tokens=10, top_logprobs=top_logprobs
    )


def reply_to(subject: Rating | Comparison, *, top_logprobs: int = 0) -> Reply | None:
    [reply] = OverlapJudge("overlap").replies([asked(subject, top_logprobs=top_logprobs)])
    return reply


def compared(first: str, second: str, reference: str = "red green blue") -> Comparison:
    return Comparison("Which colours?", (first, second), ("m", "M"), reference)


def test_a_word_counts_as_often_as_both_texts_have_it():
    # "the" twice and "cat" once, of 4 and 5 words
    assert token_f1("The the cat sat", "the cat, the cat then") == pytest.approx(2 * 3 / (4 + 5))
    assert token_f1("a a a", "a b") == pytest.approx(2 * 1 / (3 + 2))


def test_case_and_punctuation_do_not_matter():
    assert token_f1("Blue, GREEN!", "green blue") == 1.0


@pytest.mark.parametrize(("answer", "reference"), [("", "words"), ("words", ""), ("", ""), ("one", "two")])
def test_texts_without_a_common_word_overlap_by_nothing(answer, reference):
    assert token_f1(answer, reference) == 0.0


def test_a_rating_goes_from_one_to_ten_with_the_overlap():
    assert reply_to(Rating("q", "red green blue", "red green blue")) == Reply("[[10.0]]")
    assert reply_to(Rating("q", "yellow", "red green blue")) == Reply("[[1.0]]")
    # F1 = 2*1/(1+3) = 0.5, so 1 + 4.5
    assert reply_to(Rating("q", "red", "red green blue")) == Reply("[[5.5]]")


def test_without_a_reference_there_is_no_verdict():
    assert reply_to(Rating("q", "any", None)) is None
    assert reply_to(Comparison("q", ("one", "two"), ("m", "M"), None), top_logprobs=5) is None


def test_the_larger_overlap_ranks_first():
    assert reply_to(compared("red", "red green")) == Reply(
        "[{'model': 'm', 'rank': 2}, {'model': 'M', 'rank': 1}]"
    )


def test_of_two_equal_outputs_the_one_listed_first_ranks_first():
    assert reply_to(compared("red", "blue")) == Reply(
        "[{'model': 'm', 'rank': 1}, {'model': 'M', 'rank': 2}]"
    )


def test_a_weighted_preference_is_the_share_of_both_overlaps():
    # F1 of "red" is 1/2, of "red green" 4/5
    reply = reply_to(compared("red", "red green"), top_logprobs=5)
    assert reply.text == "M"
    assert math.exp(reply.first_token["m"]) == pytest.approx(0.5 / 1.3)
    assert math.exp(reply.first_token["M"]) == pytest.approx(0.8 / 1.3)


def test_two_outputs_without_overlap_are_equally_good():
    reply = reply_to(compared("pink", "grey"), top_logprobs=5)
    assert reply.first_token == {"m": math.log(0.5), "M": math.log(0.5)}


def test_an_output_without_overlap_has_no_chance_against_one_with_some():
    assert reply_to(compared("grey", "red"), top_logprobs=5) == Reply("M", {"M": 0.0})


def test_it_says_that_it_is_no_language_model(tmp_path):
    judge = open_judge(Overlap(name="overlap", kind="overlap"), tmp_path)
    assert judge.name == "overlap"
    assert judge.note == NOTE
    assert "not an LLM judge" in NOTE


def test_it_is_called_otherwise_where_it_compares_otherwise(tmp_path):
    spec = Overlap(name="overlap", kind="overlap", pairwise="ranking", both_orders=True)
    assert open_judge(spec, tmp_path).name == "overlap (ranking, both orders)"
    assert not list(tmp_path.iterdir())
