"""Seeded data to train on and to ask about.

Rows that are asked about are 10,000: seven in ten like those of the training, two in ten three times as far out, the
others anywhere in a range that the training has not seen. A model on a device meets all three.
"""

import numpy as np
from sklearn.datasets import make_classification

FEATURES = 8
ROWS = 10_000
PLACES = np.array(["Aachen", "Łódź", "Zürich", "São Paulo"], dtype=object)
KINDS = np.array(["pump", "fan", "gearbox"], dtype=object)


def classification(classes=2, rows=1_500, missing=0.0, seed=5):
    """Rows to train on with their class, and rows to ask about."""
    everything, classes = make_classification(
        n_samples=rows + ROWS,
        n_features=FEATURES,
        n_informative=5,
        n_classes=classes,
        class_sep=0.9,
        random_state=seed,
    )
    train, asked = everything[:rows].astype(np.float32), everything[rows:].astype(np.float32)
    random = np.random.default_rng(seed)
    _spread(asked, train, random)
    _lose(train, missing, random)
    _lose(asked, missing, random)
    return train, classes[:rows], asked


def regression(targets=1, rows=1_500, missing=0.0, seed=7):
    """Rows to train on with what to foretell, [rows] or [rows, targets], and rows to ask about."""
    random = np.random.default_rng(seed)
    train = random.normal(size=(rows, FEATURES)).astype(np.float32)
    asked = random.normal(size=(ROWS, FEATURES)).astype(np.float32)
    weights = random.normal(size=(FEATURES, targets))
    truth = train @ weights + np.sin(train[:, :1] * 2) * 3 + random.normal(size=(rows, targets)) * 0.1
    _spread(asked, train, random)
    _lose(train, missing, random)
    _lose(asked, missing, random)
    return train, truth[:, 0] if targets == 1 else truth, asked


def mixed(rows=1_500, seed=11):
    """Columns by name, {name: [rows, 1]}, of numbers and of strings, to train on with a class and to ask about."""
    random = np.random.default_rng(seed)

    def draw(count, spread):
        return {
            "temperature": (20 + spread * random.normal(size=(count, 1)) * 8).astype(np.float32),
            "pressure": (3 + spread * random.gamma(2.0, size=(count, 1))).astype(np.float32),
            "place": random.choice(PLACES, size=(count, 1)),
            "kind": random.choice(KINDS, size=(count, 1)),
        }

    train, asked = draw(rows, 1), draw(ROWS, 3)
    for columns in (train, asked):
        columns["pressure"][random.random(columns["pressure"].shape) < 0.05] = np.nan
    # What the training has not seen is one category more.
    asked["place"][random.random(asked["place"].shape) < 0.05] = "elsewhere"
    score = train["temperature"] / 8 + 2 * (train["kind"] == "fan") - np.nan_to_num(train["pressure"]) / 3
    return train, (score[:, 0] > np.median(score)).astype(np.int64), asked


def names(classes):
    """Class numbers as people's labels."""
    return np.array(["idle", "läuft", "worn-out", "défaut"])[classes]


def _spread(asked, train, random):
    """Moves three in ten rows outside of the training's range."""
    asked[7_000:9_000] *= 3
    low, high = train.min(axis=0), train.max(axis=0)
    reach = (high - low).max()
    asked[9_000:] = random.uniform(low - reach, high + reach, size=asked[9_000:].shape)


def _lose(rows, share, random):
    """Replaces a share of the values by NaN."""
    rows[random.random(rows.shape) < share] = np.nan
