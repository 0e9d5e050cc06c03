"""The exceptions of the package; each message says what was found, where, and what to do next.

BlemishError                 everything below; the command line prints it as one line, exit status 2
├── SettingsError            a setting or argument that cannot be used
├── DataError                images, folders or masks that cannot be used
│   └── ImageError           one image file that cannot be used
├── BundleError              a bundle file that is damaged, hostile, too new or of another kind
├── CalibrationError         thresholds that cannot be set or promised
├── BackboneError            a backbone file that is missing, altered or does not keep its description
├── EngineError              an engine that is not installed or cannot run a graph
├── MetricError              a metric that is not defined for the given labels or maps
├── TrainingError            a training run that cannot go on
├── Cancelled                work that was asked to stop
└── OutputError              a place that cannot be written to

SettingsError, CalibrationError and BackboneError are ValueErrors too: where pydantic reads a file into the dataclasses
that raise them, it adds the place.

EngineWarning                an engine failed to load and another one runs in its place
PageWarning                  image files hold several pages, and nobody said which one to take
"""

from __future__ import annotations


class BlemishError(Exception):
    """Any fault that the user can mend; catching this catches every error the package raises on purpose.

    >>> import blemish
    >>> try:
    ...     blemish.load("nowhere.blemish")
    ... except blemish.BlemishError as error:
    ...     print(type(error).__name__)
    BundleError
    """


class SettingsError(BlemishError, ValueError):
    """A setting or argument that cannot be used.

    >>> import blemish
    >>> blemish.ReadSettings(bits=3)
    Traceback (most recent call last):
    blemish.errors.SettingsError: 3 bits: give how many the camera's values have, 8 to 16 (10, 12 and 14 are usual)
    """


class DataError(BlemishError):
    """Images, folders or masks that cannot be used.

    >>> import blemish
    >>> blemish.train("nowhere/")
    Traceback (most recent call last):
    blemish.errors.DataError: nowhere: no such folder; give the folder of good images or of one data set
    """


class ImageError(DataError):
    """One image file that cannot be used.

    >>> from blemish.images.decode import decode_image
    >>> decode_image(b"GIF89a", "part.png")
    Traceback (most recent call last):
    blemish.errors.ImageError: part.png: this is not a PNG, JPEG, BMP, TIFF or WebP file; copy or export the image again
    """


class BundleError(BlemishError):
    """A bundle file that is damaged, hostile, too new or of another kind.

    >>> import blemish
    >>> blemish.load("/nowhere/part.blemish")
    Traceback (most recent call last):
    blemish.errors.BundleError: ...
    """


class CalibrationError(BlemishError, ValueError):
    """Thresholds that cannot be set or promised.

    >>> from blemish.decisions.zones import zone_from_polygons, zone_mask
    >>> everything = [(0, 0), (1, 0), (1, 1), (0, 1)]
    >>> zone_mask(zone_from_polygons(ignore=[everything]), (8, 8))
    Traceback (most recent call last):
    blemish.errors.CalibrationError: the zone leaves nothing of the image to look at; check its polygons and mask
    """


class BackboneError(BlemishError, ValueError):
    """A backbone file that is missing, altered or does not keep its description.

    >>> from blemish.weights import find_backbone
    >>> find_backbone("nowhere")
    Traceback (most recent call last):
    blemish.errors.BackboneError: nowhere: there is no backbone of this name; ...
    """


class EngineError(BlemishError):
    """An engine that is not installed or cannot run a graph.

    >>> import blemish
    >>> issubclass(blemish.EngineError, blemish.BlemishError)
    True
    """


class MetricError(BlemishError):
    """A metric that is not defined for the given labels or maps.

    >>> from blemish import metrics
    >>> metrics.auroc([0, 0], [1.0, 2.0])
    Traceback (most recent call last):
    blemish.errors.MetricError: auroc needs both good and defective samples; found 2 good and 0 defective
    """


class TrainingError(BlemishError):
    """A training run that cannot go on.

    >>> import blemish
    >>> issubclass(blemish.TrainingError, blemish.BlemishError)
    True
    """


class Cancelled(BlemishError):  # noqa: N818 - nothing went wrong
    """Work that was asked to stop; nothing of it was written but whole checkpoints.

    >>> import blemish
    >>> from blemish.testing.tiny import make_tiny_product
    >>> try:
    ...     blemish.train(list(make_tiny_product().good), detector="template", size=64, cancel=lambda: True)
    ... except blemish.Cancelled:
    ...     print("stopped")
    stopped
    """


class OutputError(BlemishError):
    """A place that cannot be written to.

    >>> import tempfile
    >>> from pathlib import Path
    >>> from blemish.files import write_text
    >>> with tempfile.NamedTemporaryFile() as file:
    ...     try:
    ...         write_text(Path(file.name) / "out.csv", "")
    ...     except OutputError:
    ...         print("cannot be written")
    cannot be written
    """


class EngineWarning(UserWarning):
    """An engine failed to load and another one runs in its place.

    >>> import warnings
    >>> import blemish
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("error", blemish.EngineWarning)  # a station that must not run another engine
    """


class PageWarning(UserWarning):
    """Image files hold several pages and nobody said which one to take; shown once, not for each file."""
