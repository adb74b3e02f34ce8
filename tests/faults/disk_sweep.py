"""A sweep of faults in a process of its own, in which the failing disk is preloaded.

`python -m tests.faults.disk_sweep STORY FOLDER STRIDE` has every STRIDE-th write and every sync of a story go wrong in
each manner, looks at what is left, and prints as JSON what came of each.
"""

import json
import mmap
import os
import shutil
import sys
from pathlib import Path

from server.jobs.errors import StorageError
from tests.faults.failing_disk import Call, Disk, Manner
from tests.faults.stores import STORIES

MANNERS = (Manner.ONCE, Manner.FROM_THEN_ON, Manner.DIE)


def sweep(story, folder, stride):
    """Give (call, manner, number, how it ended, steps acknowledged, steps found) of each fault."""
    disk = Disk()
    for call in Call:
        for manner in MANNERS:
            at = 1
            while (outcome := strike(story, folder, disk, call, manner, at)) is not None:
                yield call.name, manner.name, at, *outcome
                at += stride if call is Call.WRITE else 1


def strike(story, folder, disk, call, manner, at):
    """Do a story with a fault in it; None: it has no such call."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    story.prepare(folder)
    act = act_and_die if manner is Manner.DIE else act_and_tell
    acknowledged, ending, calls = act(story, folder, disk, call, manner, at)
    if calls < at:
        assert (acknowledged, ending) == (story.steps, "done")
        return None
    found = story.found(folder)
    story.resume(folder)
    return ending, acknowledged, found


def act_and_tell(story, folder, disk, call, manner, at):
    acknowledged = 0

    def acknowledge():
        nonlocal acknowledged
        acknowledged += 1

    disk.fail(folder, call, at, manner)
    try:
        story.act(folder, acknowledge)
        ending = "done"
    except StorageError as error:
        ending = error.code
    finally:
        calls = disk.mend()
    return acknowledged, ending, calls


def act_and_die(story, folder, disk, call, manner, at):
    """Act in a child that the fault kills; what it has acknowledged and called is in memory that both see."""
    shared = mmap.mmap(-1, 2)
    child = os.fork()
    if not child:
        disk.fail(folder, call, at, manner)
        story.act(folder, lambda: shared.__setitem__(0, shared[0] + 1))
        shared[1] = 1  # it has come to its end
        os._exit(0)
    os.waitpid(child, 0)
    return (shared[0], "done", at - 1) if shared[1] else (shared[0], "killed", at)


if __name__ == "__main__":
    name, folder, stride = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    print(json.dumps(list(sweep(STORIES[name], folder, stride))))
