"""Splink on FEBRL 3 and 4 without the social security number: the same files, scored by the same score.py."""
import csv
import subprocess
import sys
import time

import pandas as pd
import splink.comparison_library as cl
from splink import DuckDBAPI, Linker, SettingsCreator, block_on

data, work = sys.argv[1:]
columns = ["given_name", "surname", "date_of_birth", "postcode", "suburb", "address_1", "street_number"]
keys = [(a, b) for i, a in enumerate(columns) for b in columns[i + 1 :]]


def frame_of(name: str) -> pd.DataFrame:
    frame = pd.read_csv(f"{data}/{name}.csv", skipinitialspace=True, dtype=str).rename(columns={"rec_id": "unique_id"})
    return frame.drop(columns=["soc_sec_id"])


def beside(name: str, files: list[str]) -> None:
    frames = [frame_of(file) for file in files]
    link = len(frames) > 1
    settings = SettingsCreator(
        link_type="link_only" if link else "dedupe_only",
        comparisons=[cl.JaroWinklerAtThresholds(c, [0.9, 0.7]) for c in ("given_name", "surname", "suburb", "address_1")]
        + [cl.DamerauLevenshteinAtThresholds(c, [1, 2]) for c in ("date_of_birth", "postcode", "street_number")],
        blocking_rules_to_generate_predictions=[block_on(*pair) for pair in keys],
    )
    started = time.time()
    api = DuckDBAPI()
    tables = [api.register(frame) for frame in frames]
    linker = Linker(tables if link else tables[0], settings)
    linker.training.estimate_probability_two_random_records_match([block_on("given_name", "surname", "date_of_birth")], recall=0.5)
    linker.training.estimate_u_using_random_sampling(max_pairs=1e6, seed=1)
    linker.training.estimate_parameters_using_expectation_maximisation(block_on("date_of_birth"))
    linker.training.estimate_parameters_using_expectation_maximisation(block_on("postcode"))
    found = linker.inference.predict(threshold_match_probability=0.001).as_pandas_dataframe()
    seconds = time.time() - started
    with open(f"{work}/splink-{name}.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id_l", "id_r", "score"])
        rows.writerows(zip(found["unique_id_l"], found["unique_id_r"], found["match_weight"]))
    records = sum(len(frame) for frame in frames)
    print(f"splink  {name}   {seconds:.1f} s, {records / seconds:.0f} records/s", flush=True)
    score = [sys.executable, f"{data}/score.py", "pairs", f"{data}/{name}.truth.csv", f"{work}/splink-{name}.csv"]
    subprocess.run([*score, "--threshold", "0", "--brief", *(["--link"] if link else [])], check=True)


beside("febrl3", ["febrl3"])
beside("febrl4", ["febrl4a", "febrl4b"])
