"""The toy data has the columns and types of the official datasets."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from im_bench.toy.hub.knowledge import SUBJECTS

TURNS = "struct<input_text: list<element: string>, turn_id: list<element: int32>>"
ANSWERS = (
    "struct<span_start: list<element: int32>, span_end: list<element: int32>, span_text: list<element: string>, "
    "input_text: list<element: string>, turn_id: list<element: int32>>"
)
CHOICES = "struct<text: list<element: string>, label: list<element: string>>"
TARGETS = "struct<choices: list<element: string>, labels: list<element: int32>>"
TEXTS = "list<element: string>"

# From the official datasets' own parquet files, written out by hand.
EXPECTED: dict[tuple[str, str], dict[str, str]] = {
    ("cais/mmlu", "anatomy"): {"question": "string", "subject": "string", "choices": TEXTS, "answer": "int64"},
    ("baber/piqa", "default"): {"goal": "string", "sol1": "string", "sol2": "string", "label": "int64"},
    ("allenai/openbookqa", "main"): {
        "id": "string", "question_stem": "string", "choices": CHOICES, "answerKey": "string",
    },
    ("Rowan/hellaswag", "default"): {
        "ind": "int32", "activity_label": "string", "ctx_a": "string", "ctx_b": "string", "ctx": "string",
        "endings": TEXTS, "source_id": "string", "split": "string", "split_type": "string", "label": "string",
    },
    ("EleutherAI/lambada_openai", "de"): {"text": "string"},
    ("cimec/lambada", "plain_text"): {"text": "string", "domain": "string"},
    ("wmt/wmt14", "fr-en"): {"translation": "struct<en: string, fr: string>"},
    ("wmt/wmt16", "de-en"): {"translation": "struct<de: string, en: string>"},
    ("wmt/wmt16", "ro-en"): {"translation": "struct<en: string, ro: string>"},
    ("lighteval/winograd_wsc", "wsc273"): {
        "text": "string", "pronoun": "string", "pronoun_loc": "int32", "quote": "string", "quote_loc": "int32",
        "options": TEXTS, "label": "int32", "source": "string",
    },
    ("allenai/winogrande", "winogrande_xl"): {
        "sentence": "string", "option1": "string", "option2": "string", "answer": "string",
    },
    ("allenai/ai2_arc", "ARC-Challenge"): {
        "id": "string", "question": "string", "choices": CHOICES, "answerKey": "string",
    },
    ("EleutherAI/coqa", "default"): {
        "id": "string", "source": "string", "story": "string", "questions": TURNS, "answers": ANSWERS,
        "additional_answers": f"struct<0: {ANSWERS}, 1: {ANSWERS}, 2: {ANSWERS}>",
    },
    ("openai/gsm8k", "main"): {"question": "string", "answer": "string"},
    ("openai/openai_humaneval", "openai_humaneval"): {
        "task_id": "string", "prompt": "string", "canonical_solution": "string", "test": "string",
        "entry_point": "string",
    },
    ("SaylorTwift/bbh", "navigate"): {"input": "string", "target": "string"},
    ("truthfulqa/truthful_qa", "multiple_choice"): {
        "question": "string", "mc1_targets": TARGETS, "mc2_targets": TARGETS,
    },
    ("skg/toxigen-data", "annotated"): {
        "text": "string", "target_group": "string", "factual?": "string", "ingroup_effect": "string",
        "lewd": "string", "framing": "string", "predicted_group": "string", "stereotyping": "string",
        "intent": "double", "toxicity_ai": "double", "toxicity_human": "double", "predicted_author": "string",
        "actual_method": "string",
    },
    ("EleutherAI/hendrycks_ethics", "commonsense"): {
        "label": "int32", "input": "string", "is_short": "bool", "edited": "bool",
    },
    ("EleutherAI/hendrycks_ethics", "deontology"): {
        "group_id": "int32", "label": "int32", "scenario": "string", "excuse": "string",
    },
    ("EleutherAI/hendrycks_ethics", "justice"): {"group_id": "int32", "label": "int32", "scenario": "string"},
    ("EleutherAI/hendrycks_ethics", "utilitarianism"): {
        "activity": "string", "baseline": "string", "rating": "string",
    },
    ("EleutherAI/hendrycks_ethics", "virtue"): {
        "group_id": "int32", "label": "int32", "scenario": "string", "trait": "string",
    },
}  # fmt: skip

LABELS = {("cais/mmlu", "answer"): ["A", "B", "C", "D"], ("baber/piqa", "label"): ["0", "1"]}


def features(path: Path) -> dict[str, object]:
    """The `datasets` features in the metadata of a parquet file."""
    metadata = pq.read_schema(path).metadata
    return json.loads(metadata[b"huggingface"])["info"]["features"]


def typed(schema: pa.Schema) -> dict[str, str]:
    return {field.name: str(field.type) for field in schema}


@pytest.mark.parametrize(("repo", "config"), EXPECTED, ids="/".join)
def test_columns_and_types_are_the_official_ones(toy: Path, repo: str, config: str) -> None:
    files = sorted((toy / "hub" / repo / config).glob("*.parquet"))
    assert files
    assert all(typed(pq.read_schema(path)) == EXPECTED[repo, config] for path in files)


@pytest.mark.parametrize(("repo", "column"), LABELS, ids="/".join)
def test_class_labels_have_the_official_names(toy: Path, repo: str, column: str) -> None:
    path = next((toy / "hub" / repo).rglob("*.parquet"))
    assert features(path)[column] == {"names": LABELS[repo, column], "_type": "ClassLabel"}


def test_every_dataset_has_its_expectation(toy: Path) -> None:
    found = {str(path.parent.relative_to(toy / "hub")) for path in (toy / "hub").glob("*/*/README.md")}
    assert found == {repo for repo, _ in EXPECTED}


def test_the_57_subjects_and_27_puzzles_are_all_there(toy: Path) -> None:
    subjects = {path.name for path in (toy / "hub/cais/mmlu").iterdir() if path.is_dir()}
    assert len(SUBJECTS) == 57 and subjects == set(SUBJECTS)
    assert sum(path.is_dir() for path in (toy / "hub/SaylorTwift/bbh").iterdir()) == 27


def test_features_equal_those_of_the_official_files(toy: Path, shared: Path) -> None:
    official = {path.relative_to(shared / "hub"): path for path in (shared / "hub").rglob("*.parquet")}
    missing = [name for name in official if not (toy / "hub" / name).exists()]
    different = [name for name, path in official.items()
                 if name not in missing and features(path) != features(toy / "hub" / name)]  # fmt: skip
    assert (missing, different) == ([], [])


def test_few_shot_splits_have_a_row_for_every_shot(toy: Path) -> None:
    shots = {
        "cais/mmlu/virology/dev": 5,
        "baber/piqa/default/train": 10,
        "Rowan/hellaswag/default/train": 10,
        "allenai/winogrande/winogrande_xl/train": 5,
        "allenai/ai2_arc/ARC-Easy/train": 25,
        "allenai/ai2_arc/ARC-Challenge/train": 25,
    }
    rows = {name: pq.read_metadata(toy / f"hub/{name}-00000-of-00001.parquet").num_rows for name in shots}
    assert all(rows[name] > count for name, count in shots.items() if not name.endswith("dev"))
    assert rows["cais/mmlu/virology/dev"] == 5
