"""Runs on Ray: the same rows as without it, whoever is killed."""

import os
import signal
import subprocess
import sys

import pytest

from catalogue_outputs import N_PARTS, N_TRACKS, PART_TRACKS, hashes_of, rows_of
from processes import alive, descendants, ray_workers, wait_for
from tsresformer.catalogue.run import run, status
from tsresformer.errors import ClusterError

pytestmark = [pytest.mark.torch, pytest.mark.timeout(600)]


def parts_in(out):
    return list((out / "parts").glob("0*.parquet"))


def test_killed_workers_are_replaced_and_the_rows_are_the_same(
    expected, music, tiny_bundle, tmp_path
):
    out, killed, done = tmp_path / "out", [], []

    def on_part(summary):
        done.append(summary.part)
        workers = [pid for pid in ray_workers(os.getpid()) if pid not in killed]
        if workers and len(killed) < 2:
            os.kill(workers[0], signal.SIGKILL)
            killed.append(workers[0])

    found = run(
        str(music),
        str(out),
        str(tiny_bundle),
        n_workers=1,
        part_tracks=PART_TRACKS,
        on_part=on_part,
    )
    assert killed
    assert sorted(done) == list(range(N_PARTS))
    assert found.complete
    assert hashes_of(out) == hashes_of(expected)
    wait_for(lambda: not ray_workers(os.getpid()))
    assert not os.path.exists(f"/proc/{killed[0]}")


@pytest.mark.slow
def test_a_killed_driver_takes_everything_along_and_can_be_run_again(
    expected, music, tiny_bundle, tmp_path
):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "tsresformer.cli", "catalogue", "run", "--input", str(music)]
    command += ["--output", str(out), "--model", str(tiny_bundle), "--workers", "2"]
    command += ["--part-tracks", str(PART_TRACKS)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    wait_for(lambda: parts_in(out))
    below = list(descendants(process.pid))
    assert ray_workers(process.pid)
    process.kill()
    process.wait()
    wait_for(lambda: not alive(below))
    assert 0 < len(parts_in(out)) < N_PARTS
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "")
    assert hashes_of(out) == hashes_of(expected)


@pytest.mark.slow
def test_a_machine_that_is_lost_in_the_middle_costs_no_row(expected, music, tiny_bundle, tmp_path):
    from ray.cluster_utils import Cluster

    out, lost = tmp_path / "out", []
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    try:
        second = cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()

        def on_part(summary):
            if not lost:
                lost.append(summary.part)
                cluster.remove_node(second, allow_graceful=False)

        found = run(
            str(music),
            str(out),
            str(tiny_bundle),
            n_workers=2,
            address=cluster.address,
            part_tracks=PART_TRACKS,
            on_part=on_part,
        )
    finally:
        cluster.shutdown()
    assert lost
    assert found.complete
    assert hashes_of(out) == hashes_of(expected)
    ids = [row["track_id"] for row in rows_of(out)]
    assert len(set(ids)) == len(ids) == N_TRACKS


@pytest.mark.slow
def test_what_stops_a_worker_is_one_sentence(tiny_bundle, tmp_path):
    (tmp_path / "t.csv").write_text("track_id,path\n1,s3://music/a.flac\n")
    command = [sys.executable, "-m", "tsresformer.cli", "catalogue", "run", "--workers", "1"]
    command += ["--input", str(tmp_path / "t.csv"), "--output", str(tmp_path / "out")]
    nowhere = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_REGION": "us-east-1"}
    secrets = {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing"}
    done = subprocess.run(
        [*command, "--model", str(tiny_bundle)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | nowhere | secrets,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: part 0: 1 of its 1 files could not be fetched")
    assert status(str(tmp_path / "out")).n_done == 0


def test_a_cluster_that_is_not_there_is_one_sentence(music, tiny_bundle, tmp_path):
    with pytest.raises(ClusterError, match=r"no Ray at auto: .*; see to it"):
        run(str(music), str(tmp_path / "out"), str(tiny_bundle), address="auto")
