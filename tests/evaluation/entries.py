"""The harness's benchmarks as tests ask them: of the toy world's rows, and of the real ones."""

from im_bench.evaluation.benchmarks import BENCHMARKS

ENTRIES = {name: entry for name, entry in BENCHMARKS.items() if entry.tasks}
# To be quick, one of MMLU's four groups.
OF_TOY = ENTRIES | {"mmlu": ENTRIES["mmlu"]._replace(tasks=("mmlu_other",))}
# Other languages are not among the real rows.
OF_REAL = ENTRIES | {
    "lambada_multilingual": ENTRIES["lambada_multilingual"]._replace(tasks=("lambada_openai_mt_en",))
}
LARGER = ("business_ethics", "global_facts", "navigate", "snarks", "word_sorting")
"""Tasks of which the toy rows are multiplied, so that weights show."""
