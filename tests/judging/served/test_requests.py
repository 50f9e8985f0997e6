"""What is sent to a judge, what comes back, and what nobody is shown."""

import itertools
import logging
import time

import pytest
from judge_server import Answer, JudgeServer, completion, digest, error, whole
from served_judge import (
    KEY,
    PRICE,
    asked,
    billed_echo,
    echo,
    from_request,
    kept,
    on_request,
    questions,
    spec_at,
)

from im_bench.config import Served, UserError
from im_bench.judging import api, open_judge
from im_bench.judging.judge import Reply
from im_bench.judging.verdicts import FILE, Verdicts

# --- what is sent, and what comes back ---


def test_replies_come_in_the_order_of_the_requests(open_at):
    with JudgeServer(echo, latency=0.01) as server:
        replies = open_at(server).replies(questions(20))
    assert replies == [Reply(f"question {i:03d}!") for i in range(20)]


def test_model_temperature_seed_and_limit_are_sent_and_the_key_goes_in_the_header(open_at):
    with JudgeServer(echo) as server:
        open_at(server).replies([asked("hello", seed=3)])
    assert server.bodies == [
        {
            "model": "some-model",
            "messages": [{"role": "user", "content": "hello"}],
            "temperature": 0.25,
            "max_tokens": 7,
            "seed": 3,
        }
    ]
    assert server.keys == {f"Bearer {KEY}"}


@pytest.mark.parametrize(
    ("temperature", "sent"), [(None, {}), (0.0, {"temperature": 0.0}), (1.0, {"temperature": 1.0, "seed": 3})]
)
def test_a_seed_goes_with_sampling_only_and_without_a_temperature_none_is_sent(open_at, temperature, sent):
    with JudgeServer(echo) as server:
        open_at(server, temperature=temperature).replies([asked("hello", seed=3)])
    [body] = server.bodies
    assert {name: body[name] for name in ("temperature", "seed") if name in body} == sent


def test_the_body_of_the_config_is_part_of_each_request(open_at):
    with JudgeServer(echo) as server:
        open_at(server, body={"reasoning_effort": "low", "top_p": 0.5}).replies([asked("hello")])
    [body] = server.bodies
    assert (body["reasoning_effort"], body["top_p"], body["max_tokens"]) == ("low", 0.5, 7)


def test_max_completion_tokens_takes_the_place_of_max_tokens(open_at):
    with JudgeServer(echo) as server:
        open_at(server, body={"max_completion_tokens": 4096}).replies([asked("hello")])
    [body] = server.bodies
    assert body["max_completion_tokens"] == 4096
    assert "max_tokens" not in body


def test_log_probabilities_of_the_first_token_are_asked_for_and_read(open_at):
    with JudgeServer(lambda body: Answer(200, completion("m", {"m": -0.1, "M": -2.4}))) as server:
        [reply] = open_at(server).replies([asked("which?", top_logprobs=5)])
    assert reply == Reply("m", {"m": -0.1, "M": -2.4})
    assert (server.bodies[0]["logprobs"], server.bodies[0]["top_logprobs"]) == (True, 5)


def test_a_server_without_log_probabilities_is_named_at_its_first_reply_with_a_way_out(open_at):
    with JudgeServer(lambda body: Answer(200, completion("m"))) as server:
        with pytest.raises(UserError, match="no log-probabilities.*judge.pairwise=ranking"):
            open_at(server).replies([asked(f"which {i}?", top_logprobs=5) for i in range(20)])
        assert len(server.bodies) == 1


def test_a_refusal_of_the_model_is_the_reply_and_needs_no_log_probabilities(open_at):
    with JudgeServer(lambda body: Answer(200, completion(None, refusal="I will not."))) as server:
        assert open_at(server).replies([asked("hello", top_logprobs=5)]) == [Reply("I will not.")]


def test_a_message_without_anything_is_a_reply_without_text(open_at):
    with JudgeServer(lambda body: Answer(200, completion(None))) as server:
        assert open_at(server).replies([asked("hello")]) == [Reply("")]


def test_whoever_follows_hears_of_each_reply_and_of_those_that_were_kept(open_at):
    heard: list[tuple[int, int]] = []
    with JudgeServer(echo) as server:
        open_at(server).replies(questions(3))
        open_at(server, follow=lambda done, total: heard.append((done, total))).replies(questions(10))
    assert heard == sorted(heard)
    assert {done for done, _ in heard} <= set(range(3, 11))
    assert heard[-1] == (10, 10)
    assert {total for _, total in heard} == {10}


# --- the key ---


def test_a_missing_key_is_noticed_before_anything_is_sent(open_at, monkeypatch):
    monkeypatch.delenv("IM_BENCH_TEST_KEY")
    with (
        JudgeServer(echo) as server,
        pytest.raises(
            UserError, match="judge.api_key_env=IM_BENCH_TEST_KEY: the environment variable is not"
        ),
    ):
        open_at(server)


def test_a_server_of_ones_own_needs_no_key(open_at):
    with JudgeServer(echo) as server:
        assert open_at(server, api_key_env=None).replies([asked("a")]) == [Reply("a!")]


@pytest.mark.parametrize("secret", ["sk-proj-Abc_123-xyz", KEY])
@pytest.mark.parametrize(
    "answer",
    [
        *(
            pytest.param(lambda key, status=status: error(status, f"no {key}"), id=str(status))
            for status in (400, 401, 403, 404, 422, 500)
        ),
        pytest.param(lambda key: error(429, f"no {key}", code="insufficient_quota"), id="429"),
        pytest.param(lambda key: Answer(200, f"<p>{key}</p>"), id="html"),
    ],
)
def test_a_key_that_the_server_repeats_is_shown_nowhere(
    open_at, tmp_path, monkeypatch, caplog, secret, answer
):
    monkeypatch.setenv("IM_BENCH_TEST_KEY", secret)
    caplog.set_level(logging.DEBUG)
    with JudgeServer(from_request(1, lambda body: answer(secret))) as server:
        told: list = []
        try:
            told += open_at(server, deadline_seconds=0.1).replies([asked("a"), asked("b")])
        except UserError as caught:
            told.append(caught)
    assert told
    assert server.keys == {f"Bearer {secret}"}
    shown = " ".join(map(str, told)) + caplog.text + (tmp_path / FILE).read_bytes().decode(errors="replace")
    assert secret not in shown


# --- the server of these tests ---


def test_the_server_sends_nothing_to_a_client_that_has_left(open_at, monkeypatch):
    monkeypatch.setattr(api, "FIRST_TRIES", 1)
    with JudgeServer(echo, latency=0.4) as server:
        with pytest.raises(UserError, match="no answer within judge.timeout_seconds=0.1"):
            open_at(server, timeout_seconds=0.1).replies([asked("a")])
        time.sleep(0.6)
        assert [(sent.status, sent.fault) for sent in server.sent] == [(None, "left")]


def test_the_servers_verdicts_depend_on_the_prompt_alone(open_at, tmp_path):
    requests = questions(60)
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    with JudgeServer() as one, JudgeServer() as other:
        first = open_judge(spec_at(one.url), tmp_path / "one").replies(requests)
        again = open_judge(spec_at(other.url, concurrency=9), tmp_path / "other").replies(requests[::-1])
    assert first == again[::-1]
    assert whole(one.sent) == {digest(request.messages): 1 for request in requests}


# --- what is no verdict, and what is no request ---


def test_the_words_of_a_refusal_are_marked_as_no_verdict(open_at):
    words = "Invalid 'messages[1].content': string too long"
    with JudgeServer(on_request(1, lambda body: error(400, words))) as server:
        first, second = open_at(server, concurrency=1).replies(questions(2))
    assert (first.refused, second.refused) == (False, True)
    assert words in second.text


@pytest.mark.parametrize("address", ["http://me:secret@localhost:1/v1", "http://secret@localhost/v1"])
def test_an_address_holds_no_password(address):
    with pytest.raises(ValueError, match="judge.base_url: a password has no place in an address"):
        Served.model_validate(spec_at(address).model_dump())


@pytest.mark.parametrize("address", ["localhost:8000", "ftp://localhost/v1", "http://localhost:99999/v1", ""])
def test_what_is_no_address_is_refused(address):
    with pytest.raises(ValueError, match="judge.base_url=.*: is no address; it begins with http"):
        Served.model_validate(spec_at(address).model_dump())


@pytest.mark.parametrize("key", ["model", "messages", "n", "temperature", "stream", "logprobs"])
def test_a_body_cannot_say_what_has_a_key_of_its_own(key):
    with pytest.raises(ValueError, match=f"judge.body.{key}: is not for you to say here"):
        Served.model_validate(spec_at("http://h/v1", body={key: 3}).model_dump())


@pytest.mark.parametrize("tokens", [None, "lots", -1, 0, 1.5])
def test_a_limit_in_a_body_is_a_number_of_tokens(tokens):
    with pytest.raises(
        ValueError, match="judge.body.max_completion_tokens=.*: give a number of tokens from 1"
    ):
        Served.model_validate(spec_at("http://h/v1", body={"max_completion_tokens": tokens}).model_dump())


@pytest.mark.parametrize("pasted", ["sk-\u201cx\u201d", "sk-1\x01"])
def test_a_key_with_signs_that_no_key_has_is_refused_before_anything_is_sent(open_at, monkeypatch, pasted):
    monkeypatch.setenv("IM_BENCH_TEST_KEY", pasted)
    with JudgeServer(echo) as server, pytest.raises(UserError, match="signs that no key has"):
        open_at(server)


# --- what servers send besides ---


def test_half_a_character_is_kept_as_a_question_mark(open_at, tmp_path):
    half = Answer(200, completion("so \ud83d"))
    with JudgeServer(lambda body: half) as server:
        assert [reply.text for reply in open_at(server).replies(questions(2))] == ["so ?"] * 2
    assert kept(tmp_path) == ["so ?"] * 2


def test_a_write_that_fails_once_loses_nothing_that_has_come(open_at, tmp_path, monkeypatch):
    write, calls = Verdicts.keep, itertools.count()

    def fails_once(self: Verdicts, arrived: list) -> None:
        if next(calls) == 2:
            raise UserError("the disk is away")
        write(self, arrived)

    monkeypatch.setattr(Verdicts, "keep", fails_once)
    with JudgeServer(billed_echo, latency=0.01) as server:
        with pytest.raises(UserError, match="the disk is away"):
            open_at(server, price=PRICE).replies(questions(30))
        sent = len(server.bodies)
    assert len(kept(tmp_path)) == sent


def test_a_pass_that_goes_on_knows_that_the_judge_returns_log_probabilities(open_at):
    def with_logprobs(body: dict) -> Answer:
        if body["messages"][-1]["content"] == "question 002":
            return Answer(200, completion("m"))
        return Answer(200, completion("m", {"m": -0.1}))

    wanted = [asked(f"question {i:03d}", top_logprobs=5) for i in range(3)]
    with JudgeServer(with_logprobs) as server:
        open_at(server).replies(wanted[:2])
        replies = open_at(server).replies(wanted[2:] + wanted[:1])
    assert [reply.first_token for reply in replies] == [None, {"m": -0.1}]


@pytest.mark.parametrize("said", ["12", [1], True, -3, None])
def test_a_count_of_tokens_that_is_none_is_unknown(open_at, said):
    counts = {"prompt_tokens": said, "completion_tokens": 1}
    with JudgeServer(lambda body: Answer(200, completion("a") | {"usage": counts, "model": {}})) as server:
        [reply] = open_at(server).replies(questions(1))
    assert reply.bill.prompt_tokens is None
