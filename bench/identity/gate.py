#!/usr/bin/env python3
"""Whether figures are what was promised; the exit code says so.

  gate.py figures NAME REPORT.json              the JSON of `trama identity eval`
  gate.py agreement NAME ONE.csv OTHER.csv      clusters of the same records in two orders of arrival: of all pairs that either
                                                of them joins, the share that both join
"""
import csv
import json
import sys
from collections import Counter

FIGURES = {
    "pair F1": lambda r: r["pairwise"]["f1"],
    "exact-F1": lambda r: r["clusters"]["exact_f1"],
    "cluster P": lambda r: r["clusters"]["pairs"]["precision"],
    "cluster F1": lambda r: r["clusters"]["pairs"]["f1"],
    "over-merged": lambda r: r["clusters"]["over_merged"],
}
# A wrong merge shows one person's data to another: precision and over-merged clusters come first.
GATES = {
    "febrl3": [("pair F1", ">=", 0.998), ("exact-F1", ">=", 0.999)],
    "febrl4": [("pair F1", ">=", 0.9995), ("exact-F1", ">=", 0.999)],
    "o100k": [("cluster P", ">=", 0.99), ("cluster F1", ">=", 0.865), ("over-merged", "<=", 200)],
    "o100k-order": [("agreement", ">=", 0.995)],
}


def agreement(one, other):
    def clusters(path):
        with open(path, newline="") as file:
            return {row["record_id"]: row["cluster_id"] for row in csv.DictReader(file)}

    def pairs(groups):
        return sum(n * (n - 1) // 2 for n in Counter(groups).values())

    one, other = clusters(one), clusters(other)
    if one.keys() != other.keys():
        sys.exit("gate.py: these are not the same records")
    both = pairs((one[record], other[record]) for record in one)
    return both / max(1, pairs(one.values()) + pairs(other.values()) - both)


def main():
    what, name, *paths = sys.argv[1:]
    if what == "agreement":
        found = {"agreement": agreement(*paths)}
    else:
        with open(paths[0]) as file:
            report = json.load(file)
        found = {figure: of(report) for figure, of in FIGURES.items() if report["clusters"]}
    failed = False
    for figure, sense, bound in GATES.get(name, []):
        value = found[figure]
        holds = value >= bound if sense == ">=" else value <= bound
        failed |= not holds
        shown = f"{value:.4f}" if isinstance(value, float) else value
        print(f"  {'ok    ' if holds else 'FAILED'} {name:12} {figure} {shown} (wanted {sense} {bound})")
    return failed


sys.exit(main())
