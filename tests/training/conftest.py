"""What the tests of training share."""

import pytest


@pytest.fixture(scope="session")
def bands(tmp_path_factory):
    """Manifest and store of `bands.make_bands`: read only."""
    from bands import make_bands

    return make_bands(tmp_path_factory.mktemp("bands"))


@pytest.fixture(scope="session")
def first(bands, tmp_path_factory):
    """A run of `bands.config` and its bundle: read only."""
    from bands import config
    from tsresformer.export import export
    from tsresformer.training.fit import fit

    folder = tmp_path_factory.mktemp("first")
    run = fit(config(), *bands, folder / "run", progress=False)
    return run, export(run, folder / "a.bundle")
