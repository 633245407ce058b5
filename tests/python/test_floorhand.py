"""Tests of packaging/python/floorhand.py; the folder for what is written is the argument."""

import json
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "packaging/python"))

import floorhand
import numpy as np

FILE = Path(sys.argv.pop()) / "cases.jsonl"


def written(*arguments, **named):
    count = floorhand.write_golden(FILE, *arguments, **named)
    cases = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
    assert count == len(cases)
    return cases


class Cases(unittest.TestCase):
    def test_a_row_is_a_case(self):
        rows = np.array([[0.1, np.nan], [3, 4]], np.float32)
        labels, scores = np.array(["worn", "gut\u00e9"]), np.array([0.1, 0.2], np.float32)
        cases = written({"x": rows}, {"label": labels, "score": scores})
        first = {"input": {"x": [0.1, None]}, "output": {"label": "worn", "score": 0.1}}
        self.assertEqual(cases[0], first)
        self.assertEqual(cases[1]["output"]["label"], "gut\u00e9")

    def test_rows_are_picked(self):
        cases = written({"a": [1, 2, 3]}, {"b": [True, False, True]}, rows=[2, 0])
        self.assertEqual([case["input"]["a"] for case in cases], [3, 1])

    def test_what_can_not_pass_is_refused(self):
        def check(message, *arguments, **named):
            with self.assertRaisesRegex(ValueError, message):
                floorhand.write_golden(FILE, *arguments, **named)

        check("output 'b' is nan in row 1", {"a": [1, 2]}, {"b": [0.5, float("nan")]})
        check("input 'a' is inf in row 0", {"a": [float("inf")]}, {"b": [0.5]})
        check("input 'a' has 2, output 'b' has 1", {"a": [1, 2]}, {"b": [0.5]})
        check("there are no outputs", {"a": [1]}, {})
        check("there are no cases", {"a": []}, {"b": []})
        check("is a dict in row 0", {"a": [{}]}, {"b": [1]})


if __name__ == "__main__":
    unittest.main()
