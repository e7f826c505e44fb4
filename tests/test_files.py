"""Files appear whole or not at all."""

import errno
import json
import os
import threading

import pytest

from tsresformer.errors import TsResformerError
from tsresformer.files import (
    atomic_write,
    check_writable,
    hold_folder,
    is_intact,
    sealed,
    sha256_file,
    sha256_json,
    write_json,
    write_sealed,
)


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


def test_a_link_stays_and_the_file_behind_it_is_written(tmp_path):
    (tmp_path / "disk").mkdir()
    link = tmp_path / "out.txt"
    link.symlink_to("disk/real.txt")
    for text in ("first", "second"):
        with atomic_write(link) as stream:
            stream.write(text)
        assert link.is_symlink()
        assert (tmp_path / "disk" / "real.txt").read_text() == text
    assert os.listdir(tmp_path / "disk") == ["real.txt"]


def test_a_pipe_is_written_to_and_not_replaced(tmp_path):
    pipe, heard = tmp_path / "pipe", []
    os.mkfifo(pipe)
    check_writable(pipe)
    reader = threading.Thread(target=lambda: heard.append(pipe.read_text()), daemon=True)
    reader.start()
    with atomic_write(pipe) as stream:
        stream.write("through")
    reader.join(10)
    assert heard == ["through"]
    assert pipe.is_fifo()
    assert os.listdir(tmp_path) == ["pipe"]


def test_what_cannot_be_written_is_told_beforehand(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    check_writable(tmp_path / "new" / "folder" / "a.json")
    check_writable(tmp_path / "file")
    check_writable(tmp_path / "new", folder=True)
    check_writable(tmp_path, folder=True)
    for path, folder, problem in (
        ("", False, "is a folder; name a file"),
        ("file", True, "is no folder; name another"),
        ("file/a.json", False, "file is no folder"),
        ("file/report", True, "file is no folder"),
    ):
        with pytest.raises(TsResformerError, match=f"{tmp_path / path}: .*{problem}"):
            check_writable(tmp_path / path, folder=folder)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(TsResformerError, match=r"a\.json: .* no permission"):
        check_writable(tmp_path / "a.json")
    assert os.listdir(tmp_path) == ["file"]


def test_a_seal_holds_over_a_file_and_breaks_with_any_value(tmp_path):
    record = {"a": 1.5, "b": {"ü": [1, None, "x"]}, 3: "keys become text"}
    write_sealed(tmp_path / "r.json", record)
    found = json.loads((tmp_path / "r.json").read_text())
    assert is_intact(found)
    assert found == {**json.loads(json.dumps(record)), "sha256": found["sha256"]}
    for key, value in (("a", 1.6), ("b", {}), ("sha256", "0" * 64), ("new", 0)):
        assert not is_intact({**found, key: value})
    assert not is_intact({k: v for k, v in found.items() if k != "sha256"})
    assert sealed(found) == found
    deep: list = []
    for _ in range(5000):
        deep = [deep]
    for value in (deep, "\ud800"):
        assert not is_intact({"a": value, "sha256": "0" * 64})


def test_a_full_disk_is_told_with_the_file(tmp_path):
    path = tmp_path / "a.txt"
    with pytest.raises(OSError, match=r"a\.txt") as caught, atomic_write(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert (caught.value.filename, os.listdir(tmp_path)) == (str(path), [])
    with pytest.raises(OSError, match="another") as caught, atomic_write(path):
        raise OSError(errno.EIO, "another")
    assert caught.value.filename is None
    with (
        pytest.raises(OSError, match="space") as caught,
        hold_folder(tmp_path / "run", RuntimeError()),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert caught.value.filename == str(tmp_path / "run")
