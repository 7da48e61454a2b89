"""What the Splink benches share: training, deciding and clustering by the clock, figures by the score.py of the data."""
import json
import logging
import subprocess
import sys
import time
from collections.abc import Callable

import pandas as pd
from row import line
from splink import DuckDBAPI, Linker, SettingsCreator

logging.disable(logging.WARNING)  # Splink tells every iteration, and sets its level itself


def score(data: str, *args: str) -> dict:
    found = subprocess.run([sys.executable, f"{data}/score.py", *args, "--json"], check=True, stdout=subprocess.PIPE)
    return json.loads(found.stdout)


def beside(
    name: str,
    frames: list[pd.DataFrame],
    model: Callable[[], SettingsCreator],
    train: Callable[[Linker], None],
    *,
    data: str,
    truth: str,
    work: str,
    threshold: float,
    flags: tuple[str, ...] = (),
) -> None:
    """Prints the row of ours and, below it, what Splink says of pairs before they are closed to clusters.

    The clock runs from records in memory to clusters: training too, because Splink comes without weights. `threshold` is a
    match weight in bits, the same for pairs and clusters.
    """
    started = time.time()
    api = DuckDBAPI()
    tables = [api.register(frame) for frame in frames]
    linker = Linker(tables if len(tables) > 1 else tables[0], model())
    train(linker)
    trained = time.time()
    found = linker.inference.predict(threshold_match_probability=0.001)
    clusters = linker.clustering.cluster_pairwise_predictions_at_threshold(found, threshold_match_weight=threshold)
    ended = time.time()

    pairs_csv, clusters_csv = f"{work}/splink-{name}.csv", f"{work}/splink-{name}-clusters.csv"
    pairs = found.as_pandas_dataframe()[["unique_id_l", "unique_id_r", "match_weight"]]
    pairs.to_csv(pairs_csv, index=False, header=["id_l", "id_r", "score"])
    placed = clusters.as_pandas_dataframe()[["unique_id", "cluster_id"]]
    placed.to_csv(clusters_csv, index=False, header=["record_id", "cluster_id"])

    c = score(data, "clusters", truth, clusters_csv, *flags)["clusters"]
    whole = (c["pair_p"], c["pair_r"], c["pair_f1"])
    print(line(f"splink  {name}", whole, c["exact_f1"], c["overmerged"], sum(map(len, frames)), ended - started))
    p = score(data, "pairs", truth, pairs_csv, "--threshold", str(threshold), *flags)
    fixed, best = p["at"][str(threshold)], p["best"]
    print(
        f"{'':16} pairs alone P {fixed['precision']:.4f} R {fixed['recall']:.4f} F1 {fixed['f1']:.4f} at {threshold:g} bits, "
        f"best F1 {best['f1']:.4f} at {best['threshold']:.1f}; {trained - started:.1f} s training, {ended - trained:.1f} s deciding",
        flush=True,
    )
