#!/usr/bin/env python3
"""Writes cases/*: T² and Q by scikit-learn with SciPy's limits, z-scores by pandas, and alarms with hysteresis.

    pip install numpy scipy pandas scikit-learn    # 2.4.6, 1.17.1, 3.1.1, 1.9.1
    python3 plugins/threshold/tests/oracle.py            # writes
    python3 plugins/threshold/tests/oracle.py --check    # makes them again and compares
"""

import json
import pathlib
import sys

import numpy as np
import pandas
from scipy import stats
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

FOLDER = pathlib.Path(__file__).parent / "cases"
FIELDS = ["pressure", "flow", "current", "speed"]
KEPT = 2

# Another build of NumPy sums in another order.
TOLERANCE = 1e-9


def analysis(rows):
    """What goes into the asset."""
    scaler = StandardScaler().fit(rows)
    pca = PCA().fit(scaler.transform(rows))
    return {
        # PCA centres once more, by what is left of the mean: nothing but rounding.
        "mean": (scaler.mean_ + pca.mean_ * scaler.scale_).tolist(),
        "scale": scaler.scale_.tolist(),
        "components": pca.components_[:KEPT].tolist(),
        "explained_variance": pca.explained_variance_.tolist(),
        "rows": len(rows),
    }


def distances(rows, training):
    """T² and Q of each row."""
    scaler = StandardScaler().fit(training)
    model = PCA(n_components=KEPT).fit(scaler.transform(training))
    scores = model.transform(scaler.transform(rows))
    residuals = scaler.transform(rows) - model.inverse_transform(scores)
    return np.stack([(scores**2 / model.explained_variance_).sum(axis=1), (residuals**2).sum(axis=1)], axis=1)


def t2_limit(probability, count):
    quantile = stats.f.ppf(probability, KEPT, count - KEPT)
    return KEPT * (count**2 - 1) / (count * (count - KEPT)) * quantile


def q_limit(probability, variances, count):
    """Jackson and Mudholkar's, times what it costs that variances were estimated."""
    one, two, three = (np.sum(np.array(variances[KEPT:]) ** k) for k in (1, 2, 3))
    h = 1 - 2 * one * three / (3 * two**2)
    deviate = stats.norm.ppf(probability)
    known = one * (1 + h * (deviate * np.sqrt(2 * two) / one + two * (h - 1) / one**2)) ** (1 / h)
    degrees, left = round(one**2 / two), count - 1 - KEPT
    ratio = degrees * stats.f.ppf(probability, degrees, degrees * left) / stats.chi2.ppf(probability, degrees)
    return known * (1 + 1 / count) * (count - 1) / left * ratio


def alarms(values, limit, clear, raise_after, clear_after):
    """Raised above the limit for so many in a row, cleared at `clear` or below for so many."""
    raised, run, answers = False, 0, []
    for value in values:
        if not np.isnan(value):
            run = run + 1 if (value <= clear if raised else value > limit) else 0
            if run >= (clear_after if raised else raise_after):
                raised, run = not raised, 0
        answers.append(raised)
    return answers


def z_scores(values, zscore):
    series = pandas.Series(values)
    if "half_life" in zscore:
        decay = 2 ** (-1 / zscore["half_life"])
        equal = (1 + decay) / (1 - decay)
        weighted = series.ewm(halflife=zscore["half_life"])
        means, deviations = weighted.mean(), weighted.std()
        means[: int(np.ceil(4.33 * zscore["half_life"])) - 1] = np.nan
    else:
        equal = zscore["samples"]
        means, deviations = series.rolling(equal).mean(), series.rolling(equal).std()
    tail = stats.norm.sf(zscore["raise"])
    return (series - means.shift(1)) / deviations.shift(1), stats.t.isf(tail, int(equal - 1)) * np.sqrt(1 + 1 / equal)


def number(value):
    return float(value) if np.isfinite(value) else "NaN"


def lines(config, rows, scores, raised, assets=()):
    """A head, then a line for each row."""
    yield {"config": config, "assets": list(assets), "tolerance": 1e-7}
    for row, score, alarm in zip(rows, scores, raised):
        yield {
            "input": {"x": [list(map(number, row))]},
            "output": {"scores": [list(map(number, score))], "alarms": [list(map(int, alarm))]},
        }


def pca_case(training, rows):
    asset = analysis(training)
    pca = {"asset": "pca.json", "probability": 0.999, "clear": 0.5, "raise_after": 2, "clear_after": 3}
    config = {"input": "x", "fields": FIELDS, "pca": pca}
    scores = distances(rows, training)
    limits = [t2_limit(0.999, len(training)), q_limit(0.999, asset["explained_variance"], len(training))]
    raised = [alarms(score, limit, 0.5 * limit, 2, 3) for score, limit in zip(scores.T, limits)]
    raised = np.array(raised).T
    assert raised.any(axis=0).all() and not raised[-1].any(), raised
    return asset, lines(config, rows, scores, raised, ["pca.json"])


def z_case(rows, zscore):
    config = {"input": "x", "fields": FIELDS, "zscore": zscore}
    scores, raised = [], []
    for values in rows.T:
        z, limit = z_scores(values, zscore)
        scores.append(z)
        raised.append(alarms(abs(z), limit, limit * (zscore["clear"] / zscore["raise"]), 1, zscore["clear_after"]))
    raised = np.array(raised).T
    assert raised.any() and not raised[-1].any(), raised
    return lines(config, rows, np.array(scores).T, raised)


def files():
    rng = np.random.default_rng(5)
    mixing = rng.normal(size=(4, 2))
    draw = lambda count: np.array([50.0, 3.0, 12.0, 900.0]) + np.array([5.0, 0.2, 1.0, 30.0]) * (
        rng.normal(size=(count, 2)) @ mixing.T + 0.3 * rng.normal(size=(count, 4))
    )
    exact = lambda rows: np.round(rows * 1024) / 1024
    rows = draw(60)
    rows[20:26] += 12 * np.array([5.0, 0.2, 1.0, 30.0]) * mixing[:, 0]
    rows[40:45, 1] += 2.0
    asset, content = pca_case(draw(80), exact(rows))
    yield "pca.json", [asset]
    yield "pca.jsonl", content
    rows = draw(90)
    rows[40:43, 2] += 40
    rows[60, 0] -= 200
    yield "zscore.jsonl", z_case(exact(rows), {"samples": 20, "raise": 4.0, "clear": 2.0, "clear_after": 2})
    yield "zscore_half_life.jsonl", z_case(exact(rows), {"half_life": 5.5, "raise": 4.0, "clear": 3.0, "clear_after": 3})


def same(recorded, made):
    if isinstance(made, dict):
        return sorted(recorded) == sorted(made) and all(same(recorded[key], made[key]) for key in made)
    if isinstance(made, list):
        return len(recorded) == len(made) and all(map(same, recorded, made))
    if isinstance(made, float) and isinstance(recorded, float):
        return abs(recorded - made) <= TOLERANCE * max(abs(made), 1.0)
    return recorded == made


def main():
    for name, content in files():
        path = FOLDER / name
        made = [json.loads(json.dumps(line)) for line in content]
        if "--check" not in sys.argv:
            path.write_text("".join(json.dumps(line) + "\n" for line in made))
        elif not same([json.loads(line) for line in path.read_text().splitlines()], made):
            sys.exit(f"{path.name} is another one")


if __name__ == "__main__":
    main()
