"""What the tests of training share."""

import pytest


@pytest.fixture(scope="session")
def bands(tmp_path_factory):
    """Manifest and store of `bands.make_bands`: read only."""
    from bands import make_bands

    return make_bands(tmp_path_factory.mktemp("bands"))
