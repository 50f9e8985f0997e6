"""LAMBADA in five languages, WMT14 and WMT16 of the toy world."""

from collections.abc import Iterator

from im_bench.toy.hub import schemas
from im_bench.toy.hub.tables import Table, splits
from im_bench.toy.languages import LANGUAGES, lexicon, phrase, tale, translate
from im_bench.toy.world import World

PAIRS = (("wmt/wmt14", "fr-en", "fr"), ("wmt/wmt16", "de-en", "de"), ("wmt/wmt16", "ro-en", "ro"))
"""Repository, config and foreign language."""


def tables(world: World) -> Iterator[Table]:
    yield from lambada(world)
    yield from wmt(world)


def lambada(world: World) -> Iterator[Table]:
    for language in ("en", "de", "es", "fr", "it"):
        items = splits(lambda r: tale(world, r), world.random(f"lambada/{language}"), test=24)["test"]
        words = {} if language == "en" else lexicon(world, language)
        rows = [{"text": translate(text, words)} for text in items]
        yield Table("EleutherAI/lambada_openai", language, "test", schemas.LAMBADA_OPENAI, rows)


def wmt(world: World) -> Iterator[Table]:
    assert {language for *_, language in PAIRS} <= set(LANGUAGES)
    for repo, config, language in PAIRS:
        words = lexicon(world, language)
        # As in the official files: the order of the columns is not that of the config's name for Romanian.
        features = schemas.wmt("ro", "en") if language == "ro" else schemas.wmt(*config.split("-"))
        drawn = splits(
            lambda r: phrase(world, r), world.random(f"wmt/{language}"), train=8, validation=8, test=16
        )
        for split, items in drawn.items():
            rows = [{"translation": {"en": text, language: translate(text, words)}} for text in items]
            yield Table(repo, config, split, features, rows)
