"""What a soak found, in numbers and in words."""

import json
import statistics
from collections import Counter

from rich.console import Console
from rich.table import Table

MOST_GROWTH = 0.02
LONG_S = 300.0  # of a soak that says something about memory


def growth(seen, warm_up_s) -> dict:
    """Fit a line to the memory after the warm-up; return what it rises by over that time, as a share."""
    later = [(at_s, size) for at_s, size in seen if at_s >= warm_up_s]
    slope, start = statistics.linear_regression(*zip(*later, strict=True))
    span_s, first = later[-1][0] - later[0][0], start + slope * later[0][0]
    return {"share": round(slope * span_s / first, 5), "over_s": round(span_s), "from_mb": round(first / 2**20, 1)}


def describe_overload(outcomes) -> dict:
    """Sum up what became of the requests of the overload."""
    taken = [outcome for _, outcome in outcomes if outcome.status == 200]
    refused = [outcome for _, outcome in outcomes if outcome.status == 429]
    reading = [outcome for kind, outcome in outcomes if kind == "reads"]
    unanswered = [one for one in reading if not one.whole or (one.status == 200 and one.error is not None)]
    bad = [outcome for kind, outcome in outcomes if kind == "bad"]
    return {
        "requests": len(outcomes),
        "behaviours": dict(Counter(kind for kind, _ in outcomes)),
        "statuses": {str(status): count for status, count in sorted(Counter(o.status for _, o in outcomes).items())},
        "taken": len(taken),
        "unanswered": [f"{one.status} {one.error}" for one in unanswered],
        "shed_share": round(len(refused) / len(outcomes), 4),
        "shed_s": percentiles([outcome.total_s for outcome in refused if outcome.error == "queue_full"]),
        "without_retry_after": sum(outcome.retry_after is None for outcome in refused),
        "bad_not_refused": sum(not 400 <= outcome.status < 500 for outcome in bad),
        "first_token_s": percentiles([one.first_s for one in reading if one.first_s is not None]),
        "inter_token_s": percentiles([gap for one in reading for gap in one.gaps]),
    }


def percentiles(seconds) -> dict | None:
    """Return the median and the 99th percentile; None of fewer than two."""
    if len(seconds) < 2:
        return None
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    return {"p50": round(cuts[49], 4), "p99": round(cuts[98], 4)}


def find_wrong(report) -> list[str]:
    """List what a server that works would not show."""
    load, before, after, grown = report["overload"], report["before"], report["after"], report["growth"]
    long = report["seconds"] >= LONG_S
    checks = {
        f"not answered: {load['unanswered'][:5]}": load["unanswered"],
        "an answer was a 5xx": any(status.startswith("5") for status in load["statuses"]),
        "nothing was shed, so it was no overload": long and not load["shed_share"],
        "a refusal had no Retry-After": load["without_retry_after"],
        "a bad request was not refused": load["bad_not_refused"],
        "samples still run or wait": any(after[name] for name in after if name.endswith(("running", "waiting"))),
        "descriptors were not given back": after["descriptors"] > before["descriptors"] + 2,
        "threads were not given back": after["threads"] > before["threads"] + 2,
        f"memory grew by {grown['share']:.1%}": long and grown["share"] > MOST_GROWTH,
        f"the log has errors: {report['errors_logged'][:3]}": report["errors_logged"],
        f"the server ended with {report['exit_code']}": report["exit_code"],
    }
    return [message for message, is_wrong in checks.items() if is_wrong]


def show(report) -> None:
    """Print two tables: clients that were held, and the overload."""
    console = Console(width=120)
    table = Table(
        "clients", "held at once", "answered", "refused", "tokens/s", "first token p50 / p99", "between p50 / p99"
    )
    for row in report["held"]:
        times = (f"{row[name]['p50']:.3f} / {row[name]['p99']:.3f} s" for name in ("first_token_s", "inter_token_s"))
        table.add_row(
            *(str(row[key]) for key in ("clients", "held_at_once", "answered", "refused", "tokens_per_s")), *times
        )
    console.print(table)
    console.print_json(json.dumps({key: value for key, value in report.items() if key != "held"}))
