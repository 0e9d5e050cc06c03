"""What the name of a folder says of the parts in it: good, defective, nothing at all, or a word nobody knows."""

from __future__ import annotations

import re
from typing import Literal

Saying = Literal["good", "defective", "nothing", "unknown"]

_GOOD = (
    "good ok okay pass passed passing normal gut gute guter gutes gutteil gutteile io conform conforming conforme "
    "acceptable accepted accept intact undamaged healthy flawless nondefective defectfree faultfree golden "
    "fehlerfrei defektfrei mangelfrei einwandfrei bon bonne bonnes bons buono buona buoni bueno buena buenos 良品 "
    "合格 正常 良好"
)
_DEFECTIVE = (
    "bad nok ng nio ko fail failed failure failing reject rejects rejected scrap abnormal anomalous anomaly "
    "anomalies nogood notok notgood unacceptable schlecht schlechte schlechtteil schlechtteile fehler fehlerhaft "
    "fehlerhafte ausschuss defekt defekte defect defects defective fault faults faulty damage damaged broken "
    "break breakage crack cracks cracked scratch scratches scratched dent dents dented bent hole holes missing "
    "contamination contaminated stain stains stained dirt dirty burr burrs chip chipped crush crushed cut cuts "
    "squeezed torn tear deformed misplaced misaligned swapped flip flipped poke print glue fold thread worn rust "
    "corrosion kratzer riss risse delle mauvais mauvaise guasto malo 不良 不良品 不合格 异常 異常 缺陷"
)
_NO = "no not non n nicht kein keine without ohne sans pas senza sin"
_FREE = "free frei less"
_DOUBT = "almost nearly borderline barely hardly false pseudo maybe grenzwertig and or und oder vs"
_NOTHING = (
    "unlabeled unlabelled unlabel unknown unsorted unclear undecided unchecked todo new old raw all any images "
    "image img imgs picture pictures pic pics photo photos bild bilder frame frames data sample samples part "
    "parts teil teile piece pieces test tests train validation val cam camera cameras kamera line linie lot batch "
    "charge shift schicht day date tag session run series serie station view top bottom front back rgb ir uv "
    "depth backup bak archive archiv copy kopie tmp temp cache output outputs out result results report reports "
    "overlay overlays heatmap heatmaps map maps preview previews thumb thumbs thumbnail thumbnails review jan feb "
    "mar apr may jun jul aug sep oct nov dec"
)
_good, _defective = frozenset(_GOOD.split()), frozenset(_DEFECTIVE.split())
_no, _free, _doubt, _nothing = (frozenset(words.split()) for words in (_NO, _FREE, _DOUBT, _NOTHING))


def what_name_says(name: str) -> Saying:
    """What the name of a folder says of the parts in it.

    "nothing" is a name of numbers and words such as `cam2`, `2026-11-03` or `unlabeled`; "unknown" is any other word,
    which in a data set mostly names a kind of defect.

    >>> [what_name_says(name) for name in ("OK_cam1", "not_good", "defect-free", "n.i.O.", "2026-11-03", "pill_type")]
    ['good', 'defective', 'good', 'defective', 'nothing', 'unknown']
    """
    words = _words(name)
    found: set[Saying] = set()
    is_negated = False
    for word, following in zip(words, [*words[1:], ""], strict=False):
        if word in _no and not following.isdigit():  # "no 3" is a number
            is_negated = True
        elif word in _good or (word in _defective and following in _free):
            found.add("defective" if is_negated else "good")
            is_negated = False
        elif word in _defective:
            found.add("good" if is_negated else "defective")
            is_negated = False
        elif word not in _nothing | _free | _no and not word.isdigit() and len(word) > 1:
            found.add("unknown")
    if {"good", "defective"} <= found or _doubt.intersection(words):
        return "unknown"
    sayings: tuple[Saying, ...] = ("good", "defective", "unknown")
    return next((saying for saying in sayings if saying in found), "nothing")


def _words(name: str) -> list[str]:
    """The words of a name in small letters; numbers, signs and changes of case part them, the dots of `i.O.` do not."""
    name = re.sub(r"(?i)normal(?=[-_ ]?maps?(?![^\W\d_]))", "", name)  # a picture of normals is no normal part
    name = re.sub(r"(?<![^\W\d_]{2})\.(?=[^\W\d_](?:\.|$|[^\w]))", "", name)
    words: list[str] = []
    for word in re.findall(r"[^\W\d_]+|[0-9]+", name):
        if word.lower() in _good | _defective:
            words.append(word.lower())
            continue
        for part in re.findall(r"N?OK(?![A-Z])|[A-Z]+(?![a-z])|[A-Z]?[^\WA-Z]+|[^\W]", word):
            words.extend(_parted(part.lower()))
    return words


def _parted(word: str) -> tuple[str, ...]:
    """`goodparts` as `good` and `parts`; any other word as it is."""
    places = range(2, len(word) - 1)
    return next(
        (
            (word[:place], word[place:])
            for place in places
            if word[:place] in _good | _defective and word[place:] in _nothing
        ),
        (word,),
    )
