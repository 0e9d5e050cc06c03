"""The words of the pages, in one file a language."""

from __future__ import annotations

import sys
from functools import cache
from importlib.resources import files

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

LANGUAGES = ("en", "de")


@cache
def texts(language: str) -> dict[str, str]:
    """All texts of a language by their dotted names."""
    content = files("blemish.station").joinpath("texts").joinpath(f"{language}.toml").read_text("utf-8")
    return {
        f"{section}.{name}": text
        for section, entries in tomllib.loads(content).items()
        for name, text in entries.items()
    }


class Words:
    """The texts of one language.

    >>> Words("en")("line.score", score=31)
    'score 31'
    """

    def __init__(self, language: str) -> None:
        self.language = language
        self._texts = texts(language)

    def __call__(self, name: str, **values: object) -> str:
        return self._texts[name].format(**values)


def language_of(accepted: str, default: str) -> str:
    """The language that a browser asks for in its header `Accept-Language`.

    >>> language_of("de-AT,de;q=0.9,en;q=0.8", "en"), language_of("fr", "en")
    ('de', 'en')
    """
    for each in accepted.split(","):
        code = each.split(";")[0].strip().lower().split("-")[0]
        if code in LANGUAGES:
            return code
    return default
