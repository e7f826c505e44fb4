"""The way to Ray: starts that fail, and clusters that are not there."""

import pickle

import pyarrow
import pytest

from tsresformer import cluster
from tsresformer.errors import AudioError, ClusterError, StoreError


class FakeRay:
    """Starts after some failures; keeps what it was asked for."""

    def __init__(self, n_failures):
        self.failures = [RuntimeError("the node timed out\nduring startup")] * n_failures
        self.asked, self.n_shutdowns = [], 0

    def init(self, address, **options):
        self.asked.append((address, options))
        if self.failures:
            raise self.failures.pop()

    def shutdown(self):
        self.n_shutdowns += 1

    def get(self, reference):
        return reference


def test_a_ray_that_does_not_come_up_in_time_is_started_again():
    ray = FakeRay(n_failures=cluster.STARTS - 1)
    cluster._connect(ray, n_workers=2, address=None)
    assert ray.n_shutdowns == cluster.STARTS - 1
    assert [address for address, _ in ray.asked] == ["local"] * cluster.STARTS
    assert all(options["num_cpus"] == 2 for _, options in ray.asked)


def test_a_ray_that_never_comes_up_is_one_sentence():
    ray = FakeRay(n_failures=9)
    problem = "no Ray on this machine: the node timed out during startup; see to it, or use"
    with pytest.raises(ClusterError, match=problem):
        cluster._connect(ray, 1, None)
    assert len(ray.asked) == cluster.STARTS


def test_a_cluster_that_is_not_there_is_asked_once():
    ray = FakeRay(n_failures=9)
    with pytest.raises(ClusterError, match="no Ray at head:6379: the node timed out"):
        cluster._connect(ray, 1, "head:6379")
    assert len(ray.asked) == 1
    assert "num_cpus" not in ray.asked[0][1]


class Doubler:
    """Doubles; is of no more use once it has failed."""

    n_made = 0

    def __init__(self):
        Doubler.n_made += 1
        self.broken = False

    def do(self, item):
        assert not self.broken
        if isinstance(item, Exception):
            self.broken = True
            raise item
        return item * 2


@pytest.mark.parametrize(
    "error",
    [
        StoreError("s/: no"),
        AudioError("a.mp3", "is cut", "get it again", status="incomplete"),
        OSError(28, "No space left on device", "s/shard-00000.npy"),
    ],
)
def test_what_a_worker_raises_is_an_outcome_and_the_next_item_has_a_new_worker(monkeypatch, error):
    monkeypatch.setattr(cluster, "require", lambda name, _: {"ray": FakeRay(0)}.get(name, pyarrow))
    monkeypatch.setattr(cluster, "MAX_BLOCKS", 1)
    Doubler.n_made = 0
    actor = cluster.RayWorker(Doubler, pin=False)
    (table,) = cluster._blocks([1, error, 3])
    outcomes = [pickle.loads(o) for o in actor(table).column("outcome").to_pylist()]
    assert outcomes[0] == (2, None)
    assert outcomes[2] == (6, None)
    (nothing, raised) = outcomes[1]
    assert (nothing, type(raised), str(raised)) == (None, type(error), str(error))
    assert Doubler.n_made == 2


def test_many_items_are_handed_out_in_few_blocks(monkeypatch):
    monkeypatch.setattr(cluster, "MAX_BLOCKS", 4)
    blocks = cluster._blocks([f"i{n}" for n in range(10)])
    assert [len(block) for block in blocks] == [3, 3, 2, 2]
    items = [pickle.loads(item) for block in blocks for item in block.column("item").to_pylist()]
    assert items == [f"i{n}" for n in range(10)]
