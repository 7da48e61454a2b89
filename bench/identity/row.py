"""One line of figures, the same columns for both sides. As a command: from the JSON of `trama identity eval`."""
import json
import sys


def line(name: str, pairs: tuple[float, float, float], exact: float, over_merged: int, records: int, seconds: float) -> str:
    """`pairs` are precision, recall and F1 of all pairs within clusters."""
    return (
        f"{name:16} P {pairs[0]:.4f} R {pairs[1]:.4f} F1 {pairs[2]:.4f} exact {exact:.4f} "
        f"over-merged {over_merged} {records / max(seconds, 1e-9):.0f} records/s {seconds:.1f} s"
    )


if __name__ == "__main__":
    name, path = sys.argv[1:]
    r = json.load(open(path))
    c = r["clusters"]
    p = c["pairs"]
    print(line(name, (p["precision"], p["recall"], p["f1"]), c["exact_f1"], c["over_merged"], r["records"], r["seconds"]))
