"""python -m tests.robustness [EVERY [START]]: walk the list of bad inputs on every route, and print what came of it.

Without EVERY the list is walked whole, with classifiers, dawdlers and schemathesis after it; with it, one in so many,
from the START-th on.
"""

import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from tests.robustness.conformance import conformance
from tests.robustness.live_server import live_server
from tests.robustness.walk import GROWTH_BYTES, Walk

MAX_EXAMPLES = 25
CONFORMANCE_S = 240


def main(every=1, start=0):
    """Walk, print, and return the exit code."""
    with tempfile.TemporaryDirectory(prefix="kelvin-robustness-") as folder, live_server(Path(folder)) as server:
        started_s = time.monotonic()
        with closing(Walk(server)) as walk:
            num_routes = walk.everything(every, start)
            if every == 1:
                walk.slowly()
        exit_code, num_cases, output = (
            conformance(server.port, MAX_EXAMPLES, CONFORMANCE_S) if every == 1 else (0, 0, "")
        )
        complaints = server.complaints()
    if exit_code:
        print(output)
    print(*walk.failures, sep="\n", end="\n" if walk.failures else "")
    print(*complaints[:20], sep="\n", end="\n" if complaints else "")
    for kind, count in sorted(walk.tried.items()):
        print(f"{kind:>12} {count:6}")
    seconds, name = walk.slowest
    print(
        f"{walk.tried.total()} bad inputs on {num_routes} routes in {time.monotonic() - started_s:.0f} s: "
        f"{len(walk.failures)} failed, {len(complaints)} errors in the log; slowest answer {seconds:.2f} s ({name}); "
        f"memory grew by {walk.growth_bytes / 2**20:.0f} MiB"
    )
    print(f"schemathesis: {num_cases} cases, {'some failed' if exit_code else '0 failed'}")
    return int(bool(walk.failures or complaints or exit_code) or walk.growth_bytes > GROWTH_BYTES)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
