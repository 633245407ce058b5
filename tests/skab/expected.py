"""What the detector has to answer: scores row by row from scikit-learn and onnxruntime, and how good the labels are.

    python expected.py --bundle bundle/ --train anomaly-free.csv --csv valve1-*.csv --out expected.jsonl

scikit-learn is fitted afresh on the training rows and computes in float64; onnxruntime runs the bundle's model on FP32
rows that were standardised with the bundle's scaler. Each line of the output is one row of one file:
`{"file", "row", "t2", "q", "score", "sklearn": {"t2", "q", "score"}, "anomaly"}`. The metrics are SKAB's for outlier
detection, over the rows of all files: F1 = 2TP / (2TP + FP + FN), false alarm rate FP / (FP + TN), missed alarm rate FN / (TP + FN).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from skab import Detector, Rows, read_rows

STATISTICS = ("t2", "q", "score")


def main() -> None:
    arguments = parse_arguments()
    training = np.concatenate([read_rows(path, arguments.head).readings for path in arguments.train])
    detector = Detector.fit(training)
    model = Model(arguments.bundle)
    labels, ours, theirs, lines = [], [], [], []
    for path in arguments.csv:
        rows = read_rows(path)
        onnx_scores, sklearn_scores = model.run(rows.readings), sklearn_run(detector, rows)
        lines += [json.dumps(line) for line in describe(path, rows, onnx_scores, sklearn_scores)]
        ours.append(onnx_scores)
        theirs.append(sklearn_scores)
        labels.append(rows.labels if rows.labels is not None else np.zeros(len(rows.readings), dtype=bool))
    arguments.out.write_text("\n".join(lines) + "\n")
    report([path.name for path in arguments.csv], labels, ours, theirs)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True, metavar="DIR", help="what train_skab.py wrote")
    parser.add_argument("--train", type=Path, nargs="+", required=True, metavar="CSV", help="what it was trained on")
    parser.add_argument(
        "--head", type=int, metavar="N", help="only the first N rows of each training file, as in training"
    )
    parser.add_argument("--csv", type=Path, nargs="+", required=True, help="files to score")
    parser.add_argument("--out", type=Path, required=True, metavar="JSONL", help="one line a row")
    return parser.parse_args()


class Model:
    """The bundle's model behind the bundle's standardisation, one row a call as on the device."""

    def __init__(self, bundle: Path) -> None:
        scaler = json.loads((bundle / "scaler.json").read_text())
        self.mean, self.scale = (np.array(scaler[key], dtype=np.float32) for key in ("mean", "scale"))
        self.session = onnxruntime.InferenceSession(bundle / "model.onnx", providers=["CPUExecutionProvider"])

    def run(self, readings: NDArray[np.float64]) -> NDArray[np.float64]:
        """t2, q and score of each row."""
        x = (readings.astype(np.float32) - self.mean) / self.scale
        answers = [self.session.run(list(STATISTICS), {"x": row[None, :]}) for row in x]
        return np.array([[float(value[0, 0]) for value in answer] for answer in answers])


def sklearn_run(detector: Detector, rows: Rows) -> NDArray[np.float64]:
    t2, q = detector.statistics(rows.readings)
    return np.column_stack([t2, q, np.maximum(t2, q)])


def describe(path: Path, rows: Rows, ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> list[dict[str, object]]:
    lines = []
    for row, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        line: dict[str, object] = {"file": path.name, "row": row}
        line |= {name: float(f"{value:.9g}") for name, value in zip(STATISTICS, mine, strict=True)}
        line["sklearn"] = {name: float(f"{value:.9g}") for name, value in zip(STATISTICS, other, strict=True)}
        line["anomaly"] = None if rows.labels is None else bool(rows.labels[row])
        lines.append(line)
    return lines


def report(
    names: list[str],
    labels: list[NDArray[np.bool_]],
    ours: list[NDArray[np.float64]],
    theirs: list[NDArray[np.float64]],
) -> None:
    print(f"{'file':<16} {'rows':>6} {'F1':>7} {'FAR %':>7} {'MAR %':>7} {'F1 sklearn':>11} {'largest difference':>19}")
    pooled = ("all", np.concatenate(labels), np.concatenate(ours), np.concatenate(theirs))
    for name, label, mine, other in [*zip(names, labels, ours, theirs, strict=True), pooled]:
        f1, false_alarms, missed_alarms = rates(label, mine[:, 2] > 1)
        difference = np.max(np.abs(mine - other) / np.maximum(1, np.abs(other)))
        print(
            f"{name:<16} {len(label):>6} {f1:>7.4f} {100 * false_alarms:>7.2f} {100 * missed_alarms:>7.2f}"
            f" {rates(label, other[:, 2] > 1)[0]:>11.4f} {difference:>19.2e}"
        )


def rates(anomaly: NDArray[np.bool_], outlier: NDArray[np.bool_]) -> tuple[float, float, float]:
    """F1, false alarm rate and missed alarm rate; 0 where there is nothing to count."""
    tp, fp = np.sum(anomaly & outlier), np.sum(~anomaly & outlier)
    fn, tn = np.sum(anomaly & ~outlier), np.sum(~anomaly & ~outlier)
    return ratio(2 * tp, 2 * tp + fp + fn), ratio(fp, fp + tn), ratio(fn, tp + fn)


def ratio(part: np.integer, whole: np.integer) -> float:
    return float(part) / float(whole) if whole else 0.0


if __name__ == "__main__":
    main()
