"""The front matter of a card, as the hub reads it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from im_bench.analysis.measures import ANALYSIS
from im_bench.config import Run
from im_bench.report.cards.known import Made, Scored, datasets_of, name_of
from im_bench.report.cards.scores import heading_of, in_unit, measure_of
from im_bench.report.readings import metric


def front_matter(run: Run, scored: Sequence[Scored], made: Made) -> str:
    """YAML without its rules. What is not known (language, licence) is left out."""
    # It loads what speaks with the hub, which takes a while.
    from huggingface_hub.repocard_data import ModelCardData

    base = run.model.id if run.model.source == "hub" else None
    results = [
        _result(each) for each in scored if each.row.value is not None and each.row.category != ANALYSIS
    ]
    data = ModelCardData(
        base_model=base,
        datasets=sorted({each.id for each in datasets_of(run.dataset) if each.source == "hub" and each.id})
        or None,
        library_name="transformers",
        pipeline_tag="text-generation",
        # The hub takes a bare `it` for a language.
        tags=["im-bench", "instruction-tuning", f"loss-{run.loss.name}"],
        base_model_relation="finetune" if base else None,
        model_name=name_of(run, made),
        eval_results=results or None,
    )
    if not results:
        data.pop("model_name")
    return data.to_yaml(line_break="\n")


def _result(each: Scored) -> Any:
    """One number as the hub's model-index has it."""
    from huggingface_hub.repocard_data import EvalResult

    row = each.row
    value, stderr, unit = in_unit(row)
    known = {
        "stderr": stderr,
        "count": row.count,
        "total": row.total,
        "direction": row.direction,
        "judge": row.judge,
        "asked": each.asked or None,
        "note": row.reading_note,
    }
    return EvalResult(
        task_type="text-generation",
        dataset_type=row.benchmark,
        dataset_name=heading_of(each),
        dataset_config=None if each.data is None else f"local-{each.data}",
        metric_type=metric(row),
        metric_name=", ".join(filter(None, (measure_of(row), unit, row.judge and f"judge {row.judge}"))),
        metric_value=value,
        metric_args={name: known[name] for name in known if known[name] is not None},
        verified=False,
    )
