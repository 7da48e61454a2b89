"""Splink on FEBRL 3 and 4 without the social security number: the same files, scored by the same score.py."""
import sys

import pandas as pd
import splink.comparison_library as cl
from splink import Linker, SettingsCreator, block_on
from splink_bench import beside

data, work = sys.argv[1:]
columns = ["given_name", "surname", "date_of_birth", "postcode", "suburb", "address_1", "street_number"]
keys = [(a, b) for i, a in enumerate(columns) for b in columns[i + 1 :]]


def frame_of(name: str) -> pd.DataFrame:
    frame = pd.read_csv(f"{data}/{name}.csv", skipinitialspace=True, dtype=str).rename(columns={"rec_id": "unique_id"})
    return frame.drop(columns=["soc_sec_id"])


def train(linker: Linker) -> None:
    training = linker.training
    training.estimate_probability_two_random_records_match([block_on("given_name", "surname", "date_of_birth")], recall=0.5)
    training.estimate_u_using_random_sampling(max_pairs=1e6, seed=1)
    training.estimate_parameters_using_expectation_maximisation(block_on("date_of_birth"))
    training.estimate_parameters_using_expectation_maximisation(block_on("postcode"))


def febrl(name: str, files: list[str]) -> None:
    link = len(files) > 1
    settings = SettingsCreator(
        link_type="link_only" if link else "dedupe_only",
        comparisons=[cl.JaroWinklerAtThresholds(c, [0.9, 0.7]) for c in ("given_name", "surname", "suburb", "address_1")]
        + [cl.DamerauLevenshteinAtThresholds(c, [1, 2]) for c in ("date_of_birth", "postcode", "street_number")],
        blocking_rules_to_generate_predictions=[block_on(*pair) for pair in keys],
    )
    beside(
        name, [frame_of(file) for file in files], lambda: settings, train,
        data=data, truth=f"{data}/{name}.truth.csv", work=work, threshold=0.0, flags=("--link",) if link else (),
    )


febrl("febrl3", ["febrl3"])
febrl("febrl4", ["febrl4a", "febrl4b"])
