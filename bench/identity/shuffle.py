#!/usr/bin/env python3
"""The same records in another order of arrival: the same seed gives the same order. Usage: shuffle.py SEED RECORDS.csv[.gz] OUT.csv"""
import csv
import gzip
import random
import sys

seed, source, target = sys.argv[1:]
opened = gzip.open if source.endswith(".gz") else open
with opened(source, "rt", newline="") as file:
    header, *rows = csv.reader(file)
random.Random(int(seed)).shuffle(rows)
with open(target, "w", newline="") as file:
    writer = csv.writer(file)
    writer.writerow(header)
    writer.writerows(rows)
