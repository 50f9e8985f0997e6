"""What verdicts cost: a budget held and an estimate made, by hand."""

from datetime import date
from math import inf

import pytest

from im_bench.config import Price, Served, UserError
from im_bench.judging.bills import PER_MESSAGE, Budget, cost, estimate, foretold
from im_bench.judging.judge import UNKNOWN, Bill, Rating, Reply, Request, total

PRICE = Price(prompt=2.0, answer=10.0, date=date(2026, 11, 1))


def spec(**changes: object) -> Served:
    given = {
        "name": "served",
        "kind": "openai",
        "model": "m",
        "temperature": 0.0,
        "base_url": None,
        "api_key_env": None,
        "concurrency": 1,
        "timeout_seconds": 1,
        "deadline_seconds": 1,
        "price": PRICE,
    }
    return Served.model_validate(given | changes)


def asked(*texts: str, max_tokens: int = 50, usual_tokens: int = 5) -> Request:
    messages = [{"role": "user", "content": text} for text in texts]
    return Request(messages, Rating("q", "a", None), max_tokens, usual_tokens=usual_tokens)


def most(prompt: int, answer: int) -> float:
    """US dollars for so many tokens."""
    return (2.0 * prompt + 10.0 * answer) / 1e6


def words(text: str) -> int:
    return len(text.split())


# --- bills ---


def test_a_price_is_of_a_million_tokens():
    assert cost(Bill(1_000_000, 0), PRICE) == 2.0
    assert cost(Bill(500_000, 100_000), PRICE) == 2.0


def test_bills_are_summed_and_unknown_where_one_is():
    replies = [Reply("a", bill=Bill(10, 1, 0.5)), None, Reply("b", bill=Bill(20, 2, 0.25))]
    assert total(replies) == Bill(30, 3, 0.75)
    assert total([*replies, Reply("c", bill=Bill(5, None, None))]) == Bill(35, None, None)
    assert total([*replies, Reply("c")]) == UNKNOWN
    assert total([]) == total([None]) == Bill(0, 0, 0.0)


# --- budgets ---


def test_without_a_budget_everything_may_be_asked():
    for each in (spec(), spec(price=None)):
        budget = Budget(each, spent=inf)
        assert budget.allows(asked("x" * 1000, max_tokens=10**9))
        budget.reserve(asked("x"))
        assert budget.allows(asked("x"))


def test_a_request_is_allowed_while_its_most_fits_what_is_left():
    # at most a token for each byte, with the marks of each message, and every token that the reply may have
    request, at_most = asked("abcd", "ef"), most(4 + 2 + 2 * PER_MESSAGE, 50)
    assert Budget(spec(budget=at_most * 1.001), 0.0).allows(request)
    assert not Budget(spec(budget=at_most * 0.999), 0.0).allows(request)
    assert Budget(spec(budget=1.0), 1.0 - at_most * 1.001).allows(request)
    assert not Budget(spec(budget=1.0), 1.0 - at_most * 0.999).allows(request)


def test_a_letter_counts_as_many_tokens_as_it_has_bytes():
    at_most = most(3 * 4 + PER_MESSAGE, 50)
    assert not Budget(spec(budget=at_most * 0.999), 0.0).allows(asked("日本語字"))
    assert Budget(spec(budget=at_most * 1.001), 0.0).allows(asked("日本語字"))


def test_a_reply_that_may_be_longer_costs_at_most_so_much_more():
    reasoning = {"body": {"max_completion_tokens": 400}}
    at_most = most(1 + PER_MESSAGE, 400)
    assert not Budget(spec(budget=at_most * 0.999, **reasoning), 0.0).allows(asked("x"))
    assert Budget(spec(budget=at_most * 1.001, **reasoning), 0.0).allows(asked("x"))


def test_what_is_on_its_way_is_held_back_until_its_reply_says_what_it_took():
    request = asked("x")
    each = most(1 + PER_MESSAGE, 50)
    budget = Budget(spec(budget=2.5 * each), 0.0)
    budget.reserve(request)
    assert budget.allows(request)
    budget.reserve(request)
    assert not budget.allows(request)
    budget.settle(request, each / 5)
    assert budget.allows(request)
    assert budget.spent == pytest.approx(each / 5)
    budget.settle(request, 0.0)
    assert budget.spent == pytest.approx(each / 5)


def test_however_replies_come_no_more_than_the_budget_is_spent():
    request, on_the_way = asked("x"), 0
    each = most(1 + PER_MESSAGE, 50)
    budget = Budget(spec(budget=10.5 * each), 0.0)
    for turn in range(100):
        while on_the_way < 4 and budget.allows(request):
            budget.reserve(request)
            on_the_way += 1
        if on_the_way:
            budget.settle(request, each * (0.5 if turn % 2 else 1.0))
            on_the_way -= 1
    assert 9.5 * each < budget.spent <= 10.5 * each


def test_a_budget_cannot_be_held_where_the_server_does_not_count():
    budget = Budget(spec(budget=1.0), 0.0)
    budget.reserve(asked("x"))
    with pytest.raises(UserError, match="judge.budget: the server does not say how many tokens a reply took"):
        budget.settle(asked("x"), None)
    free = Budget(spec(), 0.0)
    free.reserve(asked("x"))
    free.settle(asked("x"), None)
    assert free.spent == 0.0


# --- estimates ---


def test_tokens_of_all_prompts_are_counted_where_they_are_few():
    requests = [asked("one two ", "three", usual_tokens=7), asked("four five six", usual_tokens=3)]
    assert estimate(requests, words) == Bill(6, 10, None)


def test_an_estimate_of_nothing_is_nothing():
    assert estimate([], words) == Bill(0, 0, None)
    assert estimate([asked("")], words) == Bill(0, 5, None)


def test_what_will_be_asked_is_foretold_with_its_cost_and_the_day_of_the_prices():
    requests = [asked("word " * 600, usual_tokens=100) for _ in range(1000)]
    # 600,000 tokens at 2 dollars a million and 100,000 at 10
    assert foretold(spec(), requests, 24, words) == (
        "judge served: 1000 verdicts to ask, 24 kept; about 600,000 tokens of prompts and 100,000 of replies, "
        "2.20 USD at prices of 2026-11-01"
    )


def test_without_a_price_or_a_tokenizer_only_the_numbers_of_verdicts_are_foretold():
    for each, tokens in ((spec(price=None), words), (spec(), None)):
        assert foretold(each, [asked("x")], 3, tokens) == "judge served: 1 verdicts to ask, 3 kept"


def test_the_judge_is_foretold_by_its_label():
    ranking = spec(pairwise="ranking", both_orders=True)
    assert foretold(ranking, [], 0, None).startswith("judge served (ranking, both orders): 0 verdicts")
