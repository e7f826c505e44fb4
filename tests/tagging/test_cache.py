"""The cache of a library, where its file is damaged."""

import pytest

from tsresformer.classifier import Prediction
from tsresformer.tagging.cache import Cache


@pytest.mark.parametrize("name", [b"TABLE files", b"TABLE predictions", b"path BLOB", b"ROWID"])
def test_a_schema_that_is_no_text_is_begun_anew(tmp_path, name):
    path = tmp_path / "cache.sqlite"
    Cache(path).close()
    content = path.read_bytes()
    assert name in content
    path.write_bytes(content.replace(name, name[:-2] + b"\x81" + name[-1:]))
    cache = Cache(path)
    assert cache.prediction("a.flac", "hash", "model") is None
    cache.remember_prediction("hash", "model", Prediction("a.flac", "ok", label="Folk"))
    assert cache.prediction("b.flac", "hash", "model").label == "Folk"
    cache.close()
