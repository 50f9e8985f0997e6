"""Stand-ins for the data of the 19 benchmarks with official datasets, in hub layout and in the official schemas."""

from im_bench.toy.hub import commonsense, knowledge, multilingual, reasoning, safety
from im_bench.toy.hub.tables import Row, Table
from im_bench.toy.world import World

__all__ = ["Table", "asked", "hub_tables"]

ASKED = (
    "question",
    "goal",
    "question_stem",
    "ctx",
    "text",
    "story",
    "prompt",
    "input",
    "scenario",
)
"""Columns that hold what is asked, one of them in most tables."""


def hub_tables(world: World) -> list[Table]:
    modules = (knowledge, multilingual, commonsense, reasoning, safety)
    return [table for module in modules for table in module.tables(world)]


def asked(row: Row) -> list[str]:
    """The texts of a row that no training text may hold; of a pronoun, the sentence with its right name put in."""
    if "translation" in row:
        return list(row["translation"].values())
    if "pronoun" in row:
        start, end = (
            row["text"][: row["pronoun_loc"]],
            row["text"][row["pronoun_loc"] + len(row["pronoun"]) :],
        )
        return [row["text"], start + row["options"][row["label"]].lower() + end]
    if "option1" in row:
        return [row["sentence"].replace("_", row[option]) for option in ("option1", "option2")]
    if "baseline" in row:
        return [row["activity"], row["baseline"]]
    return [row[next(column for column in ASKED if column in row)]]
