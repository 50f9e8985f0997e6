"""Ways to compare two answers: ranked or weighted, in one order or in both."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from favours import Favours, answers, headline

from im_bench.data.rows import read_rows
from im_bench.evaluation import alpaca_eval
from im_bench.judging.forms import preferring
from im_bench.judging.judge import Bill, Reply, Request
from im_bench.scores import read_scores


class Shares:
    """A judge that finds the first answer shown better by a share of its question's, or of all."""

    name, note = "shares", None

    def __init__(self, share: float | dict[tuple[str, str], float | None]) -> None:
        self.share = share
        self.requests: list[Request] = []

    def replies(self, requests: Sequence[Request]) -> list[Reply | None]:
        self.requests += requests
        return [self._reply(request) for request in requests]

    def _reply(self, request: Request) -> Reply | None:
        share = self.share[request.subject.answers] if isinstance(self.share, dict) else self.share
        return None if share is None else preferring(request, share)


def preferences(out: Path) -> list[float | None]:
    return [row["preference"] for row in read_rows(out / alpaca_eval.ANNOTATIONS)]


RANKED, BOTH = alpaca_eval.Ways(ranking=True), alpaca_eval.Ways(both_orders=True)


def test_ranking_sends_the_pairs_of_2_with_the_prompt_of_1_and_asks_for_no_log_probabilities(files, tmp_path):
    folder, asked = answers(tmp_path, ["mine"] * 6), {}
    for version, ways in ((1, alpaca_eval.PLAIN), (2, RANKED), (2, alpaca_eval.PLAIN)):
        judge = Favours("mine")
        alpaca_eval.judge(tmp_path, folder, judge, version=version, seed=0, ways=ways, **files)
        assert headline(tmp_path).task == f"alpaca_eval_{version}"
        asked[version, ways] = judge.requests
    assert asked[2, RANKED] == asked[1, alpaca_eval.PLAIN]
    assert {request.top_logprobs for request in asked[2, RANKED]} == {0}
    assert {request.top_logprobs for request in asked[2, alpaca_eval.PLAIN]} == {5}


@pytest.mark.parametrize("version", [1, 2])
def test_both_orders_are_shown_of_each_pair_and_verdicts_that_agree_win(files, tmp_path, version):
    judge = Favours("mine")
    folder = answers(tmp_path, ["mine", "mine", "mine", "worse", "worse", "mine"])
    alpaca_eval.judge(tmp_path, folder, judge, version=version, seed=0, ways=BOTH, **files)
    shown = {(request.subject.question, *request.subject.answers) for request in judge.requests}
    assert len(shown) == len(judge.requests) == 12
    assert {(question, second, first) for question, first, second in shown} == shown
    assert preferences(tmp_path) == [2.0, 2.0, 2.0, 1.0, 1.0, 2.0]


@pytest.mark.parametrize(("version", "share"), [(1, 1.0), (1, 0.0), (2, 1.0), (2, 0.3)])
def test_a_judge_that_looks_at_the_order_alone_gives_ties_in_both_orders(files, tmp_path, version, share):
    folder = answers(tmp_path, ["mine"] * 6)
    alpaca_eval.judge(tmp_path, folder, Shares(share), version=version, seed=0, ways=BOTH, **files)
    assert preferences(tmp_path) == pytest.approx([1.5] * 6)
    assert headline(tmp_path).value == pytest.approx(50.0)
    assert headline(tmp_path).stderr == pytest.approx(0.0)


def test_weighted_preferences_of_both_orders_are_averaged(files, tmp_path):
    # the answer is better by 0.9 where it stands second, and by 0.6 where it stands first
    judge = Shares({("no words", "mine"): 0.1, ("mine", "no words"): 0.6})
    folder = answers(tmp_path, ["mine"] * 6)
    alpaca_eval.judge(tmp_path, folder, judge, version=2, seed=0, ways=BOTH, **files)
    assert preferences(tmp_path) == pytest.approx([1.75] * 6)
    assert headline(tmp_path).value == pytest.approx(75.0)
    [said, *_] = [row["preference_raw_completion"] for row in read_rows(tmp_path / alpaca_eval.ANNOTATIONS)]
    assert [each["text"] for each in said] == ["M", "m"]


@pytest.mark.parametrize("order", [("no words", "mine"), ("mine", "no words")])
def test_a_pair_is_unparsed_where_one_of_its_orders_is(files, tmp_path, order):
    judge = Shares({order: None, order[::-1]: 0.9})
    folder = answers(tmp_path, ["mine", *["no words"] * 5])
    alpaca_eval.judge(tmp_path, folder, judge, version=2, seed=0, ways=BOTH, **files)
    assert preferences(tmp_path) == [None, *[1.5] * 5]
    assert (headline(tmp_path).count, headline(tmp_path).total) == (5, 6)


def test_what_both_orders_took_is_on_the_bill(files, tmp_path):
    class Billed(Favours):
        def replies(self, requests: Sequence[Request]) -> list[Reply | None]:
            bill = Bill(100, 10, 0.5)
            return [each and each._replace(bill=bill) for each in super().replies(requests)]

    folder = answers(tmp_path, ["mine"] * 6)
    for ways, times in ((alpaca_eval.PLAIN, 6), (BOTH, 12)):
        alpaca_eval.judge(tmp_path, folder, Billed("mine"), version=2, seed=0, ways=ways, **files)
        score, length = read_scores(tmp_path)
        assert (score.judge_prompt_tokens, score.judge_answer_tokens) == (100 * times, 10 * times)
        assert score.judge_cost == 0.5 * times
        assert length.judge_prompt_tokens is None
