"""MT-Bench: two turns, FastChat's files, FastChat's averages."""

import csv
from collections.abc import Callable, Iterable, Sequence
from math import sqrt
from pathlib import Path

import pytest

from im_bench.config import UserError
from im_bench.data.rows import read_rows, write_rows
from im_bench.evaluation import mt_bench
from im_bench.evaluation.mt_bench import clustered_stderr, rating
from im_bench.judging.judge import UNKNOWN, Bill, Reply, Request
from im_bench.judging.overlap import NOTE, OverlapJudge
from im_bench.scores import Score, read_scores

QUESTIONS = [
    {"question_id": 1, "category": "writing", "turns": ["Write a line.", "Shorten it."]},
    {"question_id": 2, "category": "math", "turns": ["1+1?", "Doubled?"]},
    {"question_id": 3, "category": "stem", "turns": ["What is ice?", "And steam?"]},
]
REFERENCES = [{"question_id": 2, "choices": [{"turns": ["it is two", "it is four"]}]}]
PLAIN, MATHS = "Q {question} A {answer}", "Q {question} R {ref_answer_1} A {answer}"
PLAIN_2 = "{question_1}|{answer_1}|{question_2}|{answer_2}"
PROMPTS = [
    {"name": "single-v1", "system_prompt": "judge", "prompt_template": PLAIN},
    {"name": "single-math-v1", "system_prompt": "check", "prompt_template": MATHS},
    {"name": "single-v1-multi-turn", "system_prompt": "judge 2", "prompt_template": PLAIN_2},
    {
        "name": "single-math-v1-multi-turn",
        "system_prompt": "check 2",
        "prompt_template": PLAIN_2 + "|{ref_answer_2}",
    },
]


ASKING = {"max_new_tokens": 50, "limit": None, "seed": 0, "model_id": "m"}


class Parrot:
    """An engine that answers with its prompt's length, and remembers what it was asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[list[str], float]] = []

    def chat_prompt(self, messages: list[dict[str, str]]) -> str:
        return "/".join(f"{message['role'][0]}:{message['content']}" for message in messages)

    def num_cut(self, prompt: str, max_new_tokens: int) -> int:
        return 0

    def generate(
        self,
        prompts: list[str],
        *,
        max_new_tokens: int,
        temperature: float,
        seed: int,
        done: Callable[[int], None],
    ) -> list[str]:
        done(len(prompts))
        assert max_new_tokens == 50
        self.calls.append((prompts, temperature))
        return [f" {len(prompt)}\n" for prompt in prompts]


class Said:
    """A judge that says given words, and remembers what it was asked."""

    name, note = "said", None

    def __init__(self, *words: str | None) -> None:
        self.words = words
        self.requests: list[Request] = []

    def replies(self, requests: Sequence[Request]) -> list[Reply | None]:
        self.requests = list(requests)
        return [None if word is None else Reply(word) for word in self.words]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    paths = {name: tmp_path / f"{name}.jsonl" for name in ("questions", "references", "prompts")}
    for path, rows in zip(paths.values(), (QUESTIONS, REFERENCES, PROMPTS), strict=True):
        write_rows(path, rows)
    return paths


def answers(tmp_path: Path, *turns: list[str]) -> Path:
    """Answers to the first questions, which are then all that is asked."""
    write_rows(tmp_path / "questions.jsonl", QUESTIONS[: len(turns)])
    return answers_to(tmp_path, dict(enumerate(turns, start=1)).items())


def answers_to(tmp_path: Path, given: Iterable[tuple[int, list[str]]]) -> Path:
    """A folder of answers by `question_id`."""
    folder = tmp_path / "answers"
    folder.mkdir(exist_ok=True)
    rows = [
        {"question_id": number, "model_id": "m", "choices": [{"index": 0, "turns": pair}]}
        for number, pair in given
    ]
    write_rows(folder / mt_bench.ANSWERS, rows)
    return folder


@pytest.fixture
def real(shared):
    """Real files of upstream, with published scores."""
    return shared / "data/mt_bench"


def test_the_second_turn_follows_the_models_own_first_answer(files, tmp_path):
    engine = Parrot()
    mt_bench.answer(
        tmp_path, engine, questions=files["questions"], max_new_tokens=50, limit=None, seed=0, model_id="m"
    )
    [row, *_] = read_rows(tmp_path / mt_bench.ANSWERS)
    assert row["choices"] == [{"index": 0, "turns": ["15", "34"]}]
    assert (["u:Write a line./a:15/u:Shorten it."], 0.7) in engine.calls
    assert [row["question_id"], row["model_id"]] == [1, "m"]


def test_the_category_sets_the_temperature(files, tmp_path):
    engine = Parrot()
    mt_bench.answer(
        tmp_path, engine, questions=files["questions"], max_new_tokens=50, limit=None, seed=0, model_id="m"
    )
    assert [temperature for _, temperature in engine.calls] == [0.0, 0.0, 0.1, 0.1, 0.7, 0.7]


def test_an_interrupted_pass_goes_on_with_the_temperatures_that_are_not_answered(files, tmp_path):
    class Dies(Parrot):
        def generate(self, prompts: list[str], **how: object) -> list[str]:
            if how["temperature"] == 0.7:
                raise KeyboardInterrupt
            return super().generate(prompts, **how)

    options = ASKING | {"questions": files["questions"]}
    with pytest.raises(KeyboardInterrupt):
        mt_bench.answer(tmp_path, Dies(), **options)
    second, told = Parrot(), []
    mt_bench.answer(tmp_path, second, **options, follow=lambda done, total: told.append((done, total)))
    assert [temperature for _, temperature in second.calls] == [0.7, 0.7]
    assert told[-1] == (6, 6)
    assert [row["question_id"] for row in read_rows(tmp_path / mt_bench.ANSWERS)] == [1, 2, 3]
    assert not list(tmp_path.glob("answers-*"))


def test_turns_whose_prompt_was_cut_are_counted(files, tmp_path):
    class Small(Parrot):
        def num_cut(self, prompt: str, max_new_tokens: int) -> int:
            return 7 if "/" in prompt else 0

    options = ASKING | {"questions": files["questions"]}
    mt_bench.answer(tmp_path, Small(), **options)
    assert read_rows(tmp_path / mt_bench.ANSWERS)[0]["cut_tokens"] == [0, 7]
    mt_bench.judge(tmp_path, tmp_path, Said(*["[[5]]"] * 6), **files)
    headline, *parts = read_scores(tmp_path)
    assert (headline.truncated, {score.truncated for score in parts}) == (3, {0})


@pytest.mark.parametrize(
    ("judgment", "found"),
    [
        ("<think>Rating: [[9]] maybe</think>\n\nRating: [[2]]", 2.0),
        ("Rating: [[11]]", None),
        ("Rating: [[500]]", None),
        ("Rating: [[10]]", 10.0),
        ("Rating: [[0]]", 0.0),
    ],
)
def test_a_rating_is_what_is_said_after_thinking_and_at_most_ten(judgment, found):
    assert rating(judgment) == found


def test_a_pass_without_a_single_rating_is_told_with_what_was_said(files, tmp_path, caplog):
    mt_bench.judge(tmp_path, answers(tmp_path, ["a", "b"]), Said("No.", "I will not."), **files)
    assert "judge said: none of its 2 verdicts could be read; the first says: No." in caplog.text


def test_what_a_server_refuses_is_unrated_whatever_it_says(files, tmp_path):
    class Refusing(Said):
        def replies(self, requests: Sequence[Request]) -> list[Reply | None]:
            return [Reply("[[8]]"), Reply("messages[1] is too long", refused=True)]

    mt_bench.judge(tmp_path, answers(tmp_path, ["a", "b"]), Refusing(), **files)
    assert [row["score"] for row in read_rows(tmp_path / mt_bench.JUDGMENTS)] == [8.0, mt_bench.UNRATED]
    assert read_rows(tmp_path / mt_bench.JUDGMENTS)[1]["judgment"] == "messages[1] is too long"
    assert (read_scores(tmp_path)[0].value, read_scores(tmp_path)[0].count) == (8.0, 1)


def test_a_limit_takes_the_first_questions_of_each_category(files, tmp_path):
    more = tmp_path / "more.jsonl"
    write_rows(more, [*QUESTIONS, QUESTIONS[0] | {"question_id": 4}, QUESTIONS[1] | {"question_id": 5}])
    mt_bench.answer(tmp_path, Parrot(), questions=more, max_new_tokens=50, limit=1, seed=0, model_id="m")
    assert [row["question_id"] for row in read_rows(tmp_path / mt_bench.ANSWERS)] == [1, 2, 3]


def test_maths_is_judged_beside_its_reference_and_the_second_turn_beside_the_first(files, tmp_path):
    judge = Said(*["[[5]]"] * 4)
    mt_bench.judge(tmp_path, answers(tmp_path, ["a", "b"], ["2", "4"]), judge, **files)
    assert [request.messages[-1]["content"] for request in judge.requests] == [
        "Q Write a line. A a",
        "Write a line.|a|Shorten it.|b",
        "Q 1+1? R it is two A 2",
        "1+1?|2|Doubled?|4|it is four",
    ]
    assert judge.requests[0].messages[0] == {"role": "system", "content": "judge"}
    assert [request.subject.reference for request in judge.requests] == [
        None,
        None,
        "it is two",
        "it is four",
    ]


def test_braces_in_an_answer_stay_text(files, tmp_path):
    judge = Said("[[5]]", "[[5]]")
    mt_bench.judge(tmp_path, answers(tmp_path, ["{question} {0}", "}"]), judge, **files)
    assert judge.requests[0].messages[-1]["content"] == "Q Write a line. A {question} {0}"


def test_the_score_is_the_mean_of_all_turns_and_an_unreadable_verdict_only_lowers_the_count(files, tmp_path):
    judge = Said("Rating: [[8]]", "[[5.5]]", "I cannot say", None)
    mt_bench.judge(tmp_path, answers(tmp_path, ["a", "b"], ["2", "4"]), judge, **files)
    scores = {score.task: score for score in read_scores(tmp_path)}
    headline = scores["mt_bench"]
    assert (headline.value, headline.count, headline.total) == (6.75, 2, 4)
    assert (headline.metric, headline.category, headline.judge) == ("score", "judged", "said")
    assert (scores["mt_bench_turn_1"].value, scores["mt_bench_turn_2"].value) == (8.0, 5.5)
    assert (scores["mt_bench_math"].value, scores["mt_bench_math"].count, scores["mt_bench_math"].total) == (
        None,
        0,
        2,
    )
    judgments = read_rows(tmp_path / mt_bench.JUDGMENTS)
    assert [row["score"] for row in judgments] == [8.0, 5.5, -1, -1]
    assert [row["judgment"] for row in judgments][2:] == ["I cannot say", ""]
    assert judgments[3]["judge"] == ["said", "single-math-v1-multi-turn"]


@pytest.mark.parametrize(
    ("judgment", "expected"),
    [
        ("Rating: [[8]]", 8.0),
        ("[[8.5]] and later [[2]]", 8.5),
        ("rating [7]", 7.0),
        ("see [1], so [[9]]", 9.0),
        ("[[nine]]", None),
        ("8", None),
        ("", None),
    ],
)
def test_a_rating_is_read_as_fastchat_reads_it(judgment, expected):
    assert rating(judgment) == expected


def test_two_turns_of_one_question_are_not_two_independent_ratings():
    # mean 5; residual sums of the questions are -4 and +4: sqrt(2/1 * 32) / 4
    assert clustered_stderr([(1, 3.0), (1, 3.0), (2, 7.0), (2, 7.0)]) == pytest.approx(sqrt(64) / 4)
    # with one rating each it is the usual one: the standard deviation of 3 and 7, sqrt(8), over sqrt(2)
    assert clustered_stderr([(1, 3.0), (2, 7.0)]) == pytest.approx(2.0)
    assert clustered_stderr([(1, 3.0), (1, 4.0)]) is None
    assert clustered_stderr([]) is None


def test_the_overlap_judge_rates_what_has_a_reference(files, tmp_path):
    mt_bench.judge(
        tmp_path, answers(tmp_path, ["a", "b"], ["it is two", "no idea"]), OverlapJudge("overlap"), **files
    )
    headline = read_scores(tmp_path)[0]
    assert (headline.value, headline.count, headline.total) == (5.5, 2, 4)
    assert headline.reading_note == NOTE


def test_judging_twice_writes_the_same_bytes(files, tmp_path):
    folder = answers(tmp_path, ["a", "b"], ["it is two", "no idea"])
    written = []
    for _ in range(2):
        mt_bench.judge(tmp_path, folder, OverlapJudge("overlap"), **files)
        written.append((tmp_path / mt_bench.JUDGMENTS).read_bytes())
    assert written[0] == written[1]


def test_bad_files_are_named_with_what_they_lack(files, tmp_path):
    folder = answers(tmp_path, ["a", "b"], ["2", "4"])
    write_rows(files["references"], [{"question_id": 9, "choices": [{"turns": ["", ""]}]}])
    with pytest.raises(UserError, match=r"references.jsonl: question_id 2 \(math\) needs its reference"):
        mt_bench.judge(tmp_path, folder, Said(), **files)
    write_rows(files["questions"], QUESTIONS[:1])
    with pytest.raises(UserError, match=r"answers.jsonl: answers question_id 2, which was not asked"):
        mt_bench.judge(tmp_path, folder, Said(), **files)
    answers(tmp_path, ["a", "b"])
    write_rows(files["prompts"], PROMPTS[:1])
    with pytest.raises(UserError, match="prompts.jsonl: there is no judge prompt named single-v1-multi-turn"):
        mt_bench.judge(tmp_path, folder, Said(), **files)
    write_rows(files["prompts"], [PROMPTS[0] | {"prompt_template": "{mood}"}])
    with pytest.raises(UserError, match="judge prompt single-v1 has a field that cannot be filled: 'mood'"):
        mt_bench.judge(tmp_path, folder, Said(), **files)
    files["questions"].write_text('{"question_id": 1, "category": "math", "turns": ["one"]}\n')
    with pytest.raises(UserError, match="questions.jsonl, question 1: needs"):
        mt_bench.judge(tmp_path, folder, Said(), **files)


TWO = ["one", "two"]


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        (
            [1, 2, 3, 2],
            "has several answers to question_id 2; every one needs one answer, if only an empty one",
        ),
        ([1, 3], "has no answer to question_id 2; every one needs one answer, if only an empty one"),
        (
            [1, 2, 3, 9],
            "answers question_id 9, which was not asked; every one needs one answer, if only an empty one",
        ),
        ([*range(1, 4), *range(11, 18)], "answers question_id 11, 12, 13, 14, 15, ..., which was not asked"),
    ],
)
def test_answers_that_are_not_one_to_each_question_are_named(files, tmp_path, numbers, said):
    judge = Said()
    folder = answers_to(tmp_path, [(number, TWO) for number in numbers])
    with pytest.raises(UserError) as error:
        mt_bench.judge(tmp_path, folder, judge, **files)
    assert str(error.value).startswith(f"{folder / mt_bench.ANSWERS}: {said}")
    assert not judge.requests


def test_as_many_answers_are_needed_as_the_limit_asked(files, tmp_path):
    write_rows(files["questions"], [*QUESTIONS, QUESTIONS[0] | {"question_id": 4}])
    folder = answers_to(tmp_path, [(number, TWO) for number in (1, 2, 3)])
    with pytest.raises(UserError, match="has no answer to question_id 4"):
        mt_bench.judge(tmp_path, folder, Said(), **files)
    mt_bench.judge(tmp_path, folder, Said(*["[[5]]"] * 6), limit=1, **files)
    assert read_scores(tmp_path)[0].total == 6


def test_an_empty_answer_is_judged_as_an_empty_answer_and_counts(files, tmp_path):
    judge = Said("[[1]]", "[[2]]", "[[9]]", "[[8]]")
    mt_bench.judge(tmp_path, answers(tmp_path, ["", ""], ["2", "4"]), judge, **files)
    assert [request.messages[-1]["content"] for request in judge.requests[:2]] == [
        "Q Write a line. A ",
        "Write a line.||Shorten it.|",
    ]
    headline = read_scores(tmp_path)[0]
    assert (headline.value, headline.count, headline.total) == (5.0, 4, 4)


def test_an_empty_answer_stands_between_the_official_marks(real):
    [question, *_] = mt_bench.read_questions(real / "question.jsonl")
    templates = {row["name"]: row for row in read_rows(real / "judge_prompts.jsonl")}
    template = templates[mt_bench.prompt_name(question, 1)]
    prompt = mt_bench.request(question, ["", ""], 1, None, template).messages[-1]["content"]
    begin, end = "[The Start of Assistant's Answer]", "[The End of Assistant's Answer]"
    assert prompt.endswith(f"{begin}\n\n{end}")


class Billed:
    """A judge whose replies took these tokens and dollars."""

    name, note = "billed", None

    def __init__(self, *bills: Bill) -> None:
        self.bills = bills

    def replies(self, requests: Sequence[Request]) -> list[Reply | None]:
        return [Reply("[[5]]", bill=bill) for bill in self.bills]


def bill_of(score: Score) -> Bill:
    return Bill(score.judge_prompt_tokens, score.judge_answer_tokens, score.judge_cost)


def test_what_the_replies_took_is_summed_in_the_headline_and_there_alone(files, tmp_path):
    judge = Billed(Bill(10, 1, 0.5), Bill(20, 2, 0.25), Bill(30, 3, 0.0), Bill(40, 4, 1.0))
    mt_bench.judge(tmp_path, answers(tmp_path, ["a", "b"], ["2", "4"]), judge, **files)
    headline, *parts = read_scores(tmp_path)
    assert bill_of(headline) == Bill(100, 10, 1.75)
    assert {bill_of(part) for part in parts} == {UNKNOWN}


def test_what_all_replies_took_is_unknown_where_one_does_not_say(files, tmp_path):
    judge = Billed(Bill(10, 1, None), Bill(None, 2, 0.25))
    mt_bench.judge(tmp_path, answers(tmp_path, ["a", "b"]), judge, **files)
    assert bill_of(read_scores(tmp_path)[0]) == Bill(None, 3, None)


def test_the_seed_of_the_run_goes_with_every_request(files, tmp_path):
    judge = Said("[[5]]", "[[5]]")
    mt_bench.judge(tmp_path, answers(tmp_path, ["a", "b"]), judge, **files, seed=7)
    assert {request.seed for request in judge.requests} == {7}


def test_the_official_prompts_are_built_byte_for_byte(real):
    questions = {question.id: question for question in mt_bench.read_questions(real / "question.jsonl")}
    templates = {row["name"]: row for row in read_rows(real / "judge_prompts.jsonl")}
    references = {
        row["question_id"]: row["choices"][0]["turns"]
        for row in mt_bench.read_answers(real / "reference_answer_gpt-4.jsonl")
    }
    seen = read_rows(real / "judge_prompts_seen.jsonl")
    for row in seen:
        given = {each["question_id"]: each for each in read_rows(real / f"model_answer/{row['model']}.jsonl")}
        question, turn = questions[row["question_id"]], row["turn"]
        name = mt_bench.prompt_name(question, turn)
        turns = given[question.id]["choices"][0]["turns"]
        built = mt_bench.request(question, turns, turn, references.get(question.id), templates[name])
        assert [row["judge"][1], row["user_prompt"]] == [name, built.messages[-1]["content"]]
    assert len(seen) == 32


def test_stored_verdicts_give_the_published_scores(real):
    categories = {
        question.id: question.category for question in mt_bench.read_questions(real / "question.jsonl")
    }
    verdicts = read_rows(real / "model_judgment/gpt-4_single.jsonl")
    with (real / "published_scores.csv").open() as file:
        published = list(csv.DictReader(file))
    for row in published:
        own = [verdict for verdict in verdicts if verdict["model"] == row["model"]]
        scores = {score.task: score for score in mt_bench.scores(own, categories, judge="gpt-4", note=None)}
        assert scores["mt_bench_turn_1"].value == float(row["turn_1"])
        assert scores["mt_bench_turn_2"].value == float(row["turn_2"])
        assert scores["mt_bench"].value == float(row["average"])
        assert scores["mt_bench"].count == 160
    assert len(published) == 3


def test_stored_verdicts_are_read_as_they_were(real):
    verdicts = read_rows(real / "model_judgment/gpt-4_single.jsonl")
    assert [rating(row["judgment"]) for row in verdicts] == [row["score"] for row in verdicts]
