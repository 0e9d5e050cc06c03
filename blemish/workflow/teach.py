"""A bundle and what people show it -> a bundle that knows it, with proof that nothing got worse."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from blemish.bundle.bundle import Bundle
from blemish.bundle.read import read_bundle
from blemish.bundle.write import pack_bundle
from blemish.datasets.index import hash_files, open_dataset
from blemish.datasets.listing import is_folder, list_images
from blemish.decisions.in_force import wishes_in_force
from blemish.decisions.judge import judge
from blemish.errors import BackboneError, DataError, SettingsError
from blemish.inspection.inspector import Inspector, judge_prediction
from blemish.inspection.look import placed_in
from blemish.registry import load_detector
from blemish.runtime.threads import at_most, usable_cores
from blemish.schema import (
    AS_THEY_ARE,
    GOOD,
    Cancel,
    Decision,
    ImageItem,
    Judgement,
    Prediction,
    Progress,
    ReadSettings,
    Verdict,
    cancellable,
    never,
    silent,
)
from blemish.weights import find_backbone
from blemish.workflow.calibrate import HASH_DIGITS, ProductFacts, signed
from blemish.workflow.good_images import GoodImages
from blemish.workflow.regression import Change, Group, Regression, TeachingRefusedError, compare_verdicts
from blemish.workflow.shown import Mark, Pictures, find_defects, find_good, with_marks, without_copies
from blemish.workflow.timing import PartTimes
from blemish.workflow.train import Trained, TrainRequest, check_good_images, train_on


@dataclass(frozen=True, kw_only=True)
class TeachRequest:
    """What is shown, by whom and why.

    `defective` are data sets with labelled defects, plain folders of defective images, or image files. `marks` point at
    the defects of images without a mask (see `parse_mark`). `good` are folders or files: those that the bundle was
    trained on are needed again, unless a data set among `defective` holds them; all others are taken for parts that
    were rejected and are good. `golden` are data sets or folders of good images that must be judged rightly in the end.
    A bundle that breaks a gate of the regression check is refused, unless `accept_regression` gives a reason.
    `backbone` names the backbone where the bundle's own name for it is not known here. `group_by` is that of training.
    """

    defective: Sequence[Path] = ()
    good: Sequence[Path] = ()
    golden: Sequence[Path] = ()
    marks: Mapping[str, Mark] = field(default_factory=dict)
    reason: str = ""
    by: str = ""
    accept_regression: str = ""
    backbone: str | None = None
    group_by: str | None = None
    with_sensitivity: bool = True
    reading: ReadSettings = AS_THEY_ARE
    threads: int = field(default_factory=usable_cores)
    progress: Progress = silent
    cancel: Cancel = never

    def __post_init__(self) -> None:
        if not self.defective and not self.good:
            raise SettingsError("nothing to learn: show defects with --defective, or good parts with --good")
        if self.threads < 1:
            raise SettingsError(f"threads is {self.threads}: give 1 or more")


@dataclass(frozen=True)
class Taught:
    """A taught bundle, the comparison with the one before, and what a person should be told."""

    bundle: Bundle
    regression: Regression
    notes: tuple[str, ...]


def teach(bundle: Bundle, request: TeachRequest) -> Taught:
    """The bundle fitted anew with what is shown. Raises TeachingRefusedError where it would be worse than before.

    The unsupervised part is learned from the same images with the same settings and stays the same; thresholds, promise
    and sensitivity are made again.
    """
    with at_most(request.threads), tempfile.TemporaryDirectory() as folder:
        return _teach(bundle, request, Path(folder))


def _teach(bundle: Bundle, request: TeachRequest, folder: Path) -> Taught:
    times = PartTimes(request.progress)
    report = cancellable(times, request.cancel)
    recipe = _recipe(bundle, request)
    pictures = find_defects(request.defective) if request.defective else Pictures(())
    defects, copies = without_copies(pictures.defects, request.threads)
    kept = _good_images(bundle, request, pictures, defects)
    inspector = Inspector(bundle, threads=request.threads, reading=request.reading)
    defects = with_marks(defects, request.marks, inspector, folder)
    check_good_images(kept.images, recipe)
    trained = train_on(recipe, kept.images, defects, times)
    made = _with_lineage(bundle, trained.bundle, request, defects, kept)
    report("comparing with the bundle before", 0, 1)
    golden = _golden(request, defects, kept)
    changes = [
        *_changes_of_good(bundle, made, trained, kept, inspector),
        *_changes_of_shown(made, trained, defects, inspector),
        *_changes_of_golden(made, golden, inspector, request),
    ]
    report("comparing with the bundle before", 1, 1)
    regression = compare_verdicts(changes, bundle.calibration, made.calibration)
    if regression.broken and not request.accept_regression:
        raise TeachingRefusedError(
            f"{bundle.place}: not taught, since {'; '.join(regression.broken)}: look at these pictures, or say with "
            "--accept-regression why that is right",
            regression,
        )
    return Taught(made, regression, (*pictures.notes, *copies))


def _recipe(bundle: Bundle, request: TeachRequest) -> TrainRequest:
    """How the bundle was trained, so that the same images give the same unsupervised part."""
    manifest, calibration = bundle.manifest, bundle.calibration
    info = load_detector(manifest.detector).INFO
    if request.defective and not info.learns_from_defects:
        raise SettingsError(
            f"{bundle.place}: {manifest.detector} cannot learn from defects; patchcore and classifier can: train anew"
        )
    if manifest.tiling is not None:
        raise SettingsError(f"{bundle.place}: learning from defects and tiles do not go together; train without --tile")
    if "int8" in manifest.facts:
        raise SettingsError(
            f"{bundle.place}: its graph is in int8; teach the bundle that it was made from, then quantize"
        )
    first = (*bundle.history, calibration)[0]
    return TrainRequest(
        data="",
        detector=manifest.detector,
        backbone=_backbone(bundle, request),
        size=manifest.input_hw,
        settings=manifest.settings,
        seed=manifest.seed,
        align=manifest.alignment or "off",
        calibration=first.method,
        group_by=request.group_by,
        trusted=tuple(manifest.facts.get("trusted", ())),
        wishes=wishes_in_force(calibration),
        product=ProductFacts(calibration.zone, calibration.rules, calibration.mm_per_px),
        with_sensitivity=request.with_sensitivity,
        reading=manifest.reading(request.reading),
        threads=request.threads,
        progress=request.progress,
        cancel=request.cancel,
    )


def _backbone(bundle: Bundle, request: TeachRequest) -> str:
    facts = bundle.manifest.backbone
    if facts is None:
        return "none"
    name = request.backbone or facts.name
    found = find_backbone(name)
    if found.sha256 != facts.sha256:
        raise BackboneError(
            f"backbone {name} is not the one of {bundle.place}: its file has another SHA-256 "
            f"({found.sha256[:12]}, the bundle's {facts.sha256[:12]}); name the right one with --backbone"
        )
    return name


@dataclass(frozen=True)
class _Good:
    """The good images to learn from: first those of the training, then confirmed ones, and the hash of each."""

    images: GoodImages
    hashes: tuple[str, ...]
    num_training: int

    @property
    def confirmed(self) -> tuple[int, ...]:
        return tuple(range(self.num_training, len(self.hashes)))


def _good_images(bundle: Bundle, request: TeachRequest, pictures: Pictures, defects: Sequence[ImageItem]) -> _Good:
    """The good images, told apart by their hashes. Raises DataError where some of the training are missing."""
    known = set(bundle.manifest.data.image_sha256)
    if not known:
        raise DataError(
            f"{bundle.place}: trained on arrays, so its good images cannot be found again; train on files to teach it"
        )
    given = find_good(request.good)
    paths = tuple(dict.fromkeys((*pictures.good, *given)))
    hashes = dict(zip(paths, hash_files(paths, threads=request.threads), strict=True))
    training = [path for path in paths if hashes[path][:HASH_DIGITS] in known]
    shown = {item.sha256: item for item in defects}
    in_training = {hashes[path]: path for path in training}
    confirmed = [path for path in dict.fromkeys(given) if hashes[path] not in in_training]
    for path in confirmed:
        if hashes[path] in shown:
            raise DataError(
                f"{path}: shown as good and, as {shown[hashes[path]].path}, as defective; decide which it is"
            )
    both = [item for item in defects if item.sha256 in in_training]
    if both:
        raise DataError(
            f"{both[0].path}: shown as defective, but the bundle was trained on it as a good image; if it is "
            "defective, remove it from the good images and train anew"
        )
    found = {digest[:HASH_DIGITS] for digest in (*in_training, *shown)}
    missing = known - found
    if missing:
        earlier = {one for row in bundle.manifest.facts.get("lineage", ()) for one in row.get("shown", ())}
        raise DataError(_missing(bundle, len(missing), len(missing & earlier), len(known)))
    unique = list({hashes[path]: path for path in reversed(confirmed)}.values())[::-1]
    sources = (*training, *unique)
    images = GoodImages(
        bundle.manifest.data.name,
        bundle.manifest.data.fingerprint,
        sources,
        tuple(path.as_posix() for path in sources),
        reading=bundle.manifest.reading(request.reading),
        weights=(*(1.0 for _ in training), *confirmed_weights(bundle.calibration.promise.num_over, len(unique))),
    )
    return _Good(images, tuple(hashes[path] for path in sources), len(training))


def confirmed_weights(num_over: int, num_confirmed: int) -> tuple[float, ...]:
    """How much each of the confirmed good images counts in the calibration.

    They were shown because they were rejected, so they say nothing of the parts that were accepted. With the `num_over`
    rejected images of the training they share the weight that those have alone.

    >>> confirmed_weights(9, 1), confirmed_weights(9, 3)
    ((0.9,), (0.75, 0.75, 0.75))
    """
    return (max(num_over, 1) / (max(num_over, 1) + num_confirmed),) * num_confirmed


def _missing(bundle: Bundle, num_missing: int, num_shown: int, num_known: int) -> str:
    if num_missing == num_known:
        return (
            f"{bundle.place}: none of the {num_known} images that it was trained on is among those given: name their "
            "folder with --good; or is this the bundle of another product?"
        )
    if num_shown == num_missing:
        return (
            f"{bundle.place}: {num_missing} images that it was shown before are missing and would be forgotten: give "
            "them again with --defective or --good"
        )
    return (
        f"{bundle.place}: {num_missing} of the {num_known} images that it was trained on are missing: name their "
        "folder with --good"
    )


def _with_lineage(
    parent: Bundle, trained: Bundle, request: TeachRequest, defects: Sequence[ImageItem], good: _Good
) -> Bundle:
    """The trained bundle under the parent's name for its data, with one more row in its lineage."""
    calibration = signed(trained.calibration, by=request.by, reason=request.reason or _reason(defects, good))
    row = {
        "parent": parent.bundle_id,
        "created": calibration.created,
        "by": calibration.by,
        "reason": calibration.reason,
        "shown": [item.sha256[:HASH_DIGITS] for item in defects],
        "kinds": sorted({item.defect_type for item in defects}),
        "confirmed_good": [good.hashes[place][:HASH_DIGITS] for place in good.confirmed],
        "accepted_regression": request.accept_regression,
    }
    facts: dict[str, Any] = {
        **trained.manifest.facts,
        **{
            name: parent.manifest.facts[name]
            for name in ("preset", "input_size", "alignment")
            if name in parent.manifest.facts
        },
        "lineage": [*parent.manifest.facts.get("lineage", ()), row],
    }
    manifest = trained.manifest.model_copy(update={"facts": facts})
    return replace(
        trained,
        manifest=manifest,
        calibration=calibration,
        history=(*parent.history, parent.calibration),
        ancestors=(*parent.ancestors, pack_bundle(replace(parent, ancestors=()), Path(parent.place))[1]),
        place=parent.place,
    )


def restore_ancestor(bundle: Bundle, wanted: str) -> Bundle:
    """The bundle that this one was taught from, directly or not, whose id begins with `wanted`.

    Raises SettingsError where there is none or several.
    """
    parents = [row["parent"] for row in bundle.manifest.facts.get("lineage", ())]
    found = [place for place, parent in enumerate(parents[: len(bundle.ancestors)]) if parent.startswith(wanted)]
    if len(found) != 1 or not wanted:
        told = ", ".join(parents[: len(bundle.ancestors)]) or "it was never taught"
        raise SettingsError(f"{bundle.place}: no ancestor {wanted or 'without a name'}; it has: {told}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{parents[found[0]]}.blemish"
        path.write_bytes(bundle.ancestors[found[0]])
        restored = read_bundle(path)
    return replace(restored, ancestors=bundle.ancestors[: found[0]], place=bundle.place)


def _reason(defects: Sequence[ImageItem], good: _Good) -> str:
    shown = [f"{len(defects)} defects"] if defects else []
    shown += [f"{len(good.confirmed)} good parts"] if good.confirmed else []
    return f"taught with {' and '.join(shown) or 'the good images'}"


def _changes_of_good(old: Bundle, new: Bundle, trained: Trained, good: _Good, inspector: Inspector) -> Iterator[Change]:
    """Good images by the scores that they had when they were held out; those called good now by the old bundle too."""
    for place, score in zip(trained.held.tolist(), trained.good_scores.tolist(), strict=True):
        name, after = good.images.names[place], judge(score, new.calibration)
        if place in good.confirmed:
            source = good.images.sources[place]
            assert isinstance(source, Path)
            verdict = inspector.inspect(source)
            yield Change(name, "confirmed good", "good", *_told(verdict), *_told(after))
        elif trained.scores_before is not None:
            before = judge(float(trained.scores_before[place]), old.calibration)
            yield Change(name, "good", "good", *_told(before), *_told(after))


def _changes_of_shown(
    new: Bundle, trained: Trained, defects: Sequence[ImageItem], inspector: Inspector
) -> Iterator[Change]:
    """Shown defects, after the teaching by what was learned from the others; none where the detector cannot say."""
    if trained.shown is None:
        return
    results = zip(defects, trained.shown.anomaly_scores, trained.shown.anomaly_maps, strict=True)
    for item, score, anomaly_map in results:
        before = inspector.inspect(item.path)
        after = judge_prediction(
            Prediction(float(score), anomaly_map),
            new.calibration,
            new.manifest.reduction,
            image_hw=before.image_hw,
            name=before.path,
            bundle_id=new.bundle_id,
            placed=placed_in(before, new.manifest),
        )
        yield Change(item.path.as_posix(), "shown defect", item.defect_type, *_told(before), *_told(after))


def _changes_of_golden(
    new: Bundle, golden: Sequence[ImageItem], old: Inspector, request: TeachRequest
) -> Iterator[Change]:
    if not golden:
        return
    taught = Inspector(new, threads=request.threads, reading=request.reading)
    for item in golden:
        before, after = old.inspect(item.path), taught.inspect(item.path)
        group: Group = "golden good" if item.is_good else "golden defect"
        yield Change(item.path.as_posix(), group, item.defect_type, *_told(before), *_told(after))


def _told(judged: Verdict | Judgement) -> tuple[Decision, float]:
    return judged.decision, judged.display_score


def _golden(request: TeachRequest, defects: Sequence[ImageItem], good: _Good) -> tuple[ImageItem, ...]:
    """The golden images. Raises DataError for one that is learned from: its verdict would prove nothing."""
    items: list[ImageItem] = []
    for place in request.golden:
        if is_folder(place):
            items += [item for item in open_dataset(place).items if item.label is not None]
        else:
            items += [ImageItem(path, "test", GOOD) for path in list_images([place]).checked().images]
    learned = {*good.hashes, *(item.sha256 for item in defects)}
    hashes = hash_files([item.path for item in items], threads=request.threads)
    for item, digest in zip(items, hashes, strict=True):
        if digest in learned:
            raise DataError(
                f"{item.path}: golden, but learned from too, so its verdict proves nothing; leave it out of one"
            )
    return tuple(items)
