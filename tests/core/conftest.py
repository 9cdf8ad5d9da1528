"""Every kernel test runs at every level that this machine has."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from privcomp import _core


@pytest.fixture(params=_core.available_levels())
def at_level(request: pytest.FixtureRequest) -> Iterator[str]:
    """The forced dispatch level; the former one returns afterwards."""
    before = _core.level()
    _core.force_level(request.param)
    yield request.param
    _core.force_level(before)
