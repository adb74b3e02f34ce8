"""A server of jobs in a process of its own, to be killed.

`python -m tests.jobs.server_that_dies DATA_DIR [STUCK | --url DATABASE_URL]`
"""

import os
import sys
import time
from pathlib import Path

from server.jobs.job import Kind
from server.jobs.runner import JobRunner
from server.jobs.store import JobStore


def work(job, context):
    """Make parts, and write down which one is begun by whom; part number `stuck` is never finished."""
    for number in range(job.request["parts"]):
        context.raise_if_cancelled()
        key = f"part-{number:03d}"
        if context.part(key) is None:
            with (context.folder / "begun.txt").open("a") as begun:
                begun.write(f"{key} {os.getpid()}\n")
            while number == job.request.get("stuck"):
                time.sleep(0.01)
            time.sleep(0.01)
            context.save_part(key, {"square": number**2})
            context.report((number + 1) / job.request["parts"])
    keys = [f"part-{number:03d}" for number in range(job.request["parts"])]
    return {"squares": [context.part(key)["square"] for key in keys]}


if __name__ == "__main__":
    url = sys.argv[3] if "--url" in sys.argv else None
    stuck = {"stuck": int(sys.argv[2])} if len(sys.argv) == 3 else {}
    store = JobStore.open(Path(sys.argv[1]), url)
    job = store.submit(Kind.COMPARISON, {"parts": 40} | stuck)
    JobRunner(store, Kind.COMPARISON, work).start()
    print(job.id, flush=True)
    time.sleep(60)
