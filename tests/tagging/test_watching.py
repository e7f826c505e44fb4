"""What arrives is tagged when it is complete."""

import os
import threading
import time

import pytest

from processes import wait_for
from tagged_files import StubClassifier, copied, genres, make, piece
from tsresformer.tagging.library import Library
from tsresformer.tagging.plan import Options
from tsresformer.tagging.watching import watch

SETTLE_S = 0.4


@pytest.fixture
def tune(tmp_path, piece_path):
    return make(tmp_path, "mp3-bare", *piece(piece_path, 0.3))


@pytest.fixture
def watched(tmp_path):
    """A folder that is watched in a thread, what is told of it, and who is asked."""
    root, rows, asked, stop = tmp_path / "incoming", [], StubClassifier(), threading.Event()
    root.mkdir()

    def work(settle_s):
        with Library(root, Options(policy="replace")) as library:
            tell = rows.append
            tell(None)  # the library is held
            for row in watch(library, asked, settle_s=settle_s, stop=stop):
                tell((os.path.relpath(row.path, root), row.status))

    threads = []

    def start(settle_s=SETTLE_S):
        threads.append(threading.Thread(target=work, args=[settle_s]))
        threads[0].start()
        return root, rows, asked.asked

    yield start
    stop.set()
    threads[0].join(20)
    assert not threads[0].is_alive()


def test_what_is_there_and_what_arrives_is_tagged_once(watched, tune, tmp_path):
    (there,) = copied(tune, tmp_path / "incoming", "there.mp3")
    root, rows, asked = watched()
    wait_for(lambda: ("there.mp3", "written") in rows)
    (tmp_path / "album").mkdir()
    copied(tune, tmp_path / "album", "1.mp3")
    with open(tmp_path / "album" / "1.mp3", "r+b") as stream:
        stream.seek(1500)
        stream.write(b"other audio")
    os.rename(tmp_path / "album", root / "album")
    wait_for(lambda: ("album/1.mp3", "written") in rows)
    time.sleep(4 * SETTLE_S)  # its own writes must not wake it for ever
    assert [row for row in rows[1:] if row[1] != "kept"] == [
        ("there.mp3", "written"),
        ("album/1.mp3", "written"),
    ]
    assert rows.count(("there.mp3", "kept")) <= 2
    assert asked == ["there.mp3", "1.mp3"]
    assert genres(there) == genres(root / "album" / "1.mp3") == ("Rock",)


def test_a_file_is_left_alone_while_it_grows(watched, tune):
    root, rows, asked = watched(settle_s=1.5)
    wait_for(lambda: rows)
    data = tune.read_bytes()
    with open(root / "growing.mp3", "wb", buffering=0) as stream:
        for part in range(20):
            stream.write(data[part * len(data) // 20 : (part + 1) * len(data) // 20])
            assert asked == []
            time.sleep(0.15)
    assert asked == []
    wait_for(lambda: ("growing.mp3", "written") in rows)
    assert genres(root / "growing.mp3") == ("Rock",)


def test_a_file_that_leaves_again_is_forgotten(watched, tune, tmp_path):
    root, rows, _ = watched(settle_s=1.5)
    wait_for(lambda: rows)
    copied(tune, root, "gone.mp3")
    time.sleep(0.1)
    (root / "gone.mp3").unlink()
    copied(tune, root, "stays.mp3")
    wait_for(lambda: ("stays.mp3", "written") in rows)
    assert not any(row and row[0] == "gone.mp3" for row in rows)
