"""Compiled densities of the tests are kept in a folder of their own."""

import pytest

from pyrovae.engine.posterior.native import cache


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory):
    place = tmp_path_factory.mktemp("densities") / "densities"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache, "folder", lambda: place)
        yield place
