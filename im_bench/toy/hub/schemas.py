"""Columns and types of the official datasets, as the hub stores them."""

from datasets import ClassLabel, Features, List, Translation, Value

TEXT, INT, LONG, FLOAT, BOOL = (Value(name) for name in ("string", "int32", "int64", "float64", "bool"))
TEXTS, INTS = List(TEXT), List(INT)


def texts(*names: str) -> Features:
    return Features(dict.fromkeys(names, TEXT))


LABELLED_CHOICES = {"text": TEXTS, "label": TEXTS}
TURNS = {"input_text": TEXTS, "turn_id": INTS}
ANSWERS = {"span_start": INTS, "span_end": INTS, "span_text": TEXTS, **TURNS}
TARGETS = {"choices": TEXTS, "labels": INTS}

MMLU = Features(question=TEXT, subject=TEXT, choices=TEXTS, answer=ClassLabel(names=list("ABCD")))
PIQA = Features(goal=TEXT, sol1=TEXT, sol2=TEXT, label=ClassLabel(names=["0", "1"]))
OPENBOOKQA = Features(id=TEXT, question_stem=TEXT, choices=LABELLED_CHOICES, answerKey=TEXT)
HELLASWAG = Features(
    ind=INT, activity_label=TEXT, ctx_a=TEXT, ctx_b=TEXT, ctx=TEXT, endings=TEXTS,
    source_id=TEXT, split=TEXT, split_type=TEXT, label=TEXT,
)  # fmt: skip
LAMBADA_OPENAI = texts("text")
LAMBADA = texts("text", "domain")
WSC273 = Features(
    text=TEXT, pronoun=TEXT, pronoun_loc=INT, quote=TEXT, quote_loc=INT, options=TEXTS, label=INT, source=TEXT
)
WINOGRANDE = texts("sentence", "option1", "option2", "answer")
ARC = Features(id=TEXT, question=TEXT, choices=LABELLED_CHOICES, answerKey=TEXT)
COQA = Features(
    id=TEXT, source=TEXT, story=TEXT, questions=TURNS, answers=ANSWERS,
    additional_answers={"0": ANSWERS, "1": ANSWERS, "2": ANSWERS},
)  # fmt: skip
GSM8K = texts("question", "answer")
HUMANEVAL = texts("task_id", "prompt", "canonical_solution", "test", "entry_point")
BBH = texts("input", "target")
TRUTHFULQA = Features(question=TEXT, mc1_targets=TARGETS, mc2_targets=TARGETS)
TOXIGEN = Features(
    {
        "text": TEXT, "target_group": TEXT, "factual?": TEXT, "ingroup_effect": TEXT, "lewd": TEXT, "framing": TEXT,
        "predicted_group": TEXT, "stereotyping": TEXT, "intent": FLOAT, "toxicity_ai": FLOAT,
        "toxicity_human": FLOAT, "predicted_author": TEXT, "actual_method": TEXT,
    }
)  # fmt: skip
ETHICS = {
    "commonsense": Features(label=INT, input=TEXT, is_short=BOOL, edited=BOOL),
    "deontology": Features(group_id=INT, label=INT, scenario=TEXT, excuse=TEXT),
    "justice": Features(group_id=INT, label=INT, scenario=TEXT),
    "utilitarianism": texts("activity", "baseline", "rating"),
    "virtue": Features(group_id=INT, label=INT, scenario=TEXT, trait=TEXT),
}


def wmt(first: str, second: str) -> Features:
    return Features(translation=Translation(languages=[first, second]))
