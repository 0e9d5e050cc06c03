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
    """Any fault that the user can mend; catching this catches every error the package raises on purpose."""


class SettingsError(BlemishError, ValueError):
    """A setting or argument that cannot be used."""


class DataError(BlemishError):
    """Images, folders or masks that cannot be used."""


class ImageError(DataError):
    """One image file that cannot be used."""


class BundleError(BlemishError):
    """A bundle file that is damaged, hostile, too new or of another kind."""


class CalibrationError(BlemishError, ValueError):
    """Thresholds that cannot be set or promised."""


class BackboneError(BlemishError, ValueError):
    """A backbone file that is missing, altered or does not keep its description."""


class EngineError(BlemishError):
    """An engine that is not installed or cannot run a graph."""


class MetricError(BlemishError):
    """A metric that is not defined for the given labels or maps."""


class TrainingError(BlemishError):
    """A training run that cannot go on."""


class Cancelled(BlemishError):  # noqa: N818 - nothing went wrong
    """Work that was asked to stop; nothing of it was written but whole checkpoints."""


class OutputError(BlemishError):
    """A place that cannot be written to."""


class EngineWarning(UserWarning):
    """An engine failed to load and another one runs in its place."""


class PageWarning(UserWarning):
    """Image files hold several pages and nobody said which one to take; shown once, not for each file."""
