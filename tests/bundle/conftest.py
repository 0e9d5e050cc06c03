"""The members of a good bundle, and the check that a file is refused in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from blemish.bundle.read import read_bundle
from blemish.errors import BundleError
from blemish.testing.members import Members, unpack

Refused = Callable[..., None]


@pytest.fixture(scope="session")
def members(bundle_path: Path) -> Members:
    return unpack(bundle_path)


@pytest.fixture(scope="session")
def assert_refused() -> Refused:
    """`assert_refused(path, "a few", "words")`: reading is a BundleError on one line that has these words."""

    def check(path: Path, *says: str) -> None:
        with pytest.raises(BundleError) as caught:
            read_bundle(path)
        message = str(caught.value)
        assert path.name in message
        assert "\n" not in message
        assert len(message) < 600
        for part in says:
            assert part in message

    return check
