"""The toy world on disk: the same bytes for the same seed, the right shapes, nothing leaked."""

import hashlib
import json
import os
import string
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from im_bench.analysis.overlap import standing
from im_bench.data.conversations import Conversation, read_conversations
from im_bench.toy.hub import hub_tables
from im_bench.toy.world import make_world
from tests.toy.conftest import SEED

CATEGORIES = "writing roleplay reasoning math coding extraction stem humanities".split()

# What a row of each dataset asks, in columns chosen by hand.
ASKED = {
    "cais/mmlu": ("question",),
    "baber/piqa": ("goal",),
    "allenai/openbookqa": ("question_stem",),
    "Rowan/hellaswag": ("ctx",),
    "EleutherAI/lambada_openai": ("text",),
    "cimec/lambada": ("text",),
    "wmt/wmt14": ("translation",),
    "wmt/wmt16": ("translation",),
    "lighteval/winograd_wsc": ("text",),
    "allenai/winogrande": ("sentence",),
    "allenai/ai2_arc": ("question",),
    "EleutherAI/coqa": ("story",),
    "openai/gsm8k": ("question",),
    "openai/openai_humaneval": ("prompt",),
    "SaylorTwift/bbh": ("input",),
    "truthfulqa/truthful_qa": ("question",),
    "skg/toxigen-data": ("text",),
    "EleutherAI/hendrycks_ethics": ("input", "scenario", "activity", "baseline"),
}


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.values() for text in strings(item)]
    return [] if value is None else [value]


def asked(toy: Path) -> Iterator[str]:
    """Every text that a benchmark with a dataset asks, with the right name in place of a gap."""
    for repo, columns in ASKED.items():
        for path in sorted((toy / "hub" / repo).rglob("*.parquet")):
            for row in pq.read_table(path).to_pylist():
                gap = row.get(f"option{row['answer']}", "_") if repo == "allenai/winogrande" else "_"
                texts = [text for column in columns for text in strings(row.get(column))]
                yield from (text.replace("_", gap) if gap != "_" else text for text in texts)


def judged(toy: Path) -> set[str]:
    turns = [turn for row in lines(toy / "assets/mt_bench/question.jsonl") for turn in row["turns"]]
    return {
        *turns,
        *(row["instruction"] for row in lines(toy / "assets/alpaca_eval/reference_outputs_v2.jsonl")),
    }


def messages(toy: Path, name: str, role: str) -> list[str]:
    rows = lines(toy / f"sft/{name}.jsonl")
    return [turn["content"] for row in rows for turn in row["messages"] if turn["role"] == role]


def test_one_seed_gives_the_same_bytes_whatever_the_hash_seed(toy: Path, tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from im_bench.toy.files import write_world; "
    code += "write_world(Path(sys.argv[1]), int(sys.argv[2]))"
    environment = os.environ | {"PYTHONHASHSEED": "7"}
    subprocess.run([sys.executable, "-c", code, str(tmp_path), str(SEED)], check=True, env=environment)
    assert digests(tmp_path) == digests(toy)


def test_another_seed_gives_another_world() -> None:
    first, second = make_world(SEED), make_world(SEED + 1)
    assert first.facts != second.facts
    assert [table.rows for table in hub_tables(first)] != [table.rows for table in hub_tables(second)]


def test_no_asked_text_is_in_the_corpus(toy: Path) -> None:
    corpus = "\n\n".join(row["text"] for row in lines(toy / "corpus.jsonl"))
    assert [text for text in {*asked(toy), *judged(toy)} if text in corpus] == []


def test_no_instruction_is_a_benchmark_item(toy: Path) -> None:
    items = {*asked(toy), *judged(toy)}
    for name in ("toy_long", "toy_short"):
        assert items.isdisjoint(messages(toy, name, "user"))


def test_no_training_output_holds_an_asked_text(toy: Path) -> None:
    outputs = "\n\n".join(messages(toy, "toy_long", "assistant") + messages(toy, "toy_short", "assistant"))
    assert [text for text in asked(toy) if text in outputs] == []


def test_no_training_instruction_holds_an_asked_text(toy: Path) -> None:
    instructions = "\n\n".join(messages(toy, "toy_long", "user") + messages(toy, "toy_short", "user"))
    assert [text for text in asked(toy) if text in instructions] == []


def conversations(toy: Path, name: str) -> list[Conversation]:
    return read_conversations(toy / f"sft/{name}.jsonl", "messages")


@pytest.mark.parametrize("name", ["toy_long", "toy_short"])
def test_no_held_out_conversation_stands_in_a_training_set(toy: Path, name: str) -> None:
    held = conversations(toy, "toy_heldout")
    assert len(held) == 300 and not any(standing(held, conversations(toy, name)))
    assert all(standing(held[:9], [*conversations(toy, name), *held[:9]]))


def test_held_out_conversations_are_of_the_lengths_of_both_training_sets(toy: Path) -> None:
    pairs = [
        (len(each.turns[-2].content.split()), len(each.turns[-1].content.split()))
        for each in conversations(toy, "toy_heldout")
    ]
    longer = sum(instruction > output for instruction, output in pairs)
    assert 100 < longer < 200


def test_no_held_out_conversation_holds_an_asked_text(toy: Path) -> None:
    said = "\n\n".join(messages(toy, "toy_heldout", "user") + messages(toy, "toy_heldout", "assistant"))
    assert [text for text in {*asked(toy), *judged(toy)} if text in said] == []


def test_the_corpus_is_not_in_a_chat_format(toy: Path) -> None:
    assert not any("<|" in row["text"] for row in lines(toy / "corpus.jsonl"))


def words(texts: list[str]) -> int:
    return sum(len(text.split()) for text in texts)


def test_long_instructions_are_over_five_times_their_outputs(toy: Path) -> None:
    assert words(messages(toy, "toy_long", "user")) > 5 * words(messages(toy, "toy_long", "assistant"))


def test_short_instructions_are_under_half_their_outputs(toy: Path) -> None:
    assert words(messages(toy, "toy_short", "user")) < 0.5 * words(messages(toy, "toy_short", "assistant"))


@pytest.mark.parametrize("name", ["toy_long", "toy_short"])
def test_conversations_alternate_and_some_have_a_system_turn_or_several_turns(toy: Path, name: str) -> None:
    roles = [[turn["role"] for turn in row["messages"]] for row in lines(toy / f"sft/{name}.jsonl")]
    assert 300 <= len(roles) <= 400
    assert any(row[0] == "system" for row in roles) and any(row.count("user") > 1 for row in roles)
    for row in roles:
        turns = row[1:] if row[0] == "system" else row
        assert turns == ["user", "assistant"] * (len(turns) // 2)


def test_mt_bench_has_two_questions_of_two_turns_in_each_category_and_a_reference_for_each(toy: Path) -> None:
    questions = lines(toy / "assets/mt_bench/question.jsonl")
    references = lines(toy / "assets/mt_bench/reference_answer.jsonl")
    assert [row["category"] for row in questions] == [name for name in CATEGORIES for _ in range(2)]
    assert all(len(row["turns"]) == 2 for row in questions)
    assert [row["question_id"] for row in references] == [row["question_id"] for row in questions]
    assert all(len(row["choices"][0]["turns"]) == 2 for row in references)


def test_the_references_of_alpaca_eval_answer_the_same_instructions_the_weak_one_half_wrong(
    toy: Path,
) -> None:
    weak, strong = (lines(toy / f"assets/alpaca_eval/reference_outputs_{v}.jsonl") for v in ("v1", "v2"))
    assert [row["instruction"] for row in weak] == [row["instruction"] for row in strong]
    assert all(set(row) == {"instruction", "output", "generator", "dataset"} for row in weak + strong)
    same = sum(a["output"] == b["output"] for a, b in zip(weak, strong, strict=True))
    assert 10 <= same <= 30 and len(weak) == 40


def test_judge_prompts_have_the_records_and_fields_of_the_official_file(toy: Path, shared: Path) -> None:
    def shape(path: Path) -> dict[str, tuple[str, str, str, set[str | None]]]:
        fields = string.Formatter().parse
        return {
            row["name"]: (
                row["type"],
                row["output_format"],
                " ".join(sorted(row)),
                {field for _, field, _, _ in fields(row["prompt_template"]) if field},
            )
            for row in lines(path)
        }

    official = shape(shared / "data/mt_bench/judge_prompts.jsonl")
    assert shape(toy / "assets/mt_bench/judge_prompts.jsonl") == official
