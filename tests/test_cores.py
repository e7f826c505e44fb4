"""Cores that workers keep to."""

import os
import subprocess
import sys

CODE = (
    "import os, threading, time; from tsresformer.cores import take_cores; "
    "threading.Thread(target=time.sleep, args=(60,), daemon=True).start(); "
    "held = take_cores(1); "
    "tasks = map(int, os.listdir('/proc/self/task')); "
    "print(len(held), *{tuple(os.sched_getaffinity(t)) for t in tasks}, flush=True); input()"
)


def test_no_two_workers_share_a_core(tmp_path):
    cores = sorted(os.sched_getaffinity(0))
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", CODE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for _ in range(len(cores) + 1)
    ]
    lines = sorted(worker.stdout.readline().strip() for worker in workers)
    for worker in workers:
        worker.communicate("\n")
    whole = ", ".join(map(str, cores)) + ("," if len(cores) == 1 else "")
    assert lines == sorted([f"0 ({whole})", *(f"1 ({core},)" for core in cores)])
