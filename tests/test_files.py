"""Files appear whole or not at all."""

import os

import pytest

from tsresformer.files import atomic_write, sha256_file, sha256_json, write_json


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(ValueError, match="boom"), atomic_write(path) as stream:
        stream.write("half of the n")
        raise ValueError("boom")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_mode_is_kept_and_new_files_follow_the_umask(tmp_path):
    path = tmp_path / "new" / "a.json"
    mask = os.umask(0o027)
    try:
        write_json(path, {"ä": 1})
    finally:
        os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o640
    path.chmod(0o600)
    write_json(path, {"ä": 2})
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text(encoding="utf-8") == '{\n  "ä": 2\n}\n'


def test_hashes(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_file(tmp_path / "a") == known
    assert sha256_json({"a": 1, "b": [2]}) == sha256_json({"b": [2], "a": 1})
    assert sha256_json({"a": 1}) != sha256_json({"a": "1"})
