"""One line of figures from the JSON of `trama identity eval`."""
import json
import sys

name, path = sys.argv[1:]
r = json.load(open(path))
c = r["clusters"]
p = c["pairs"]
print(
    f"{name:16} P {p['precision']:.4f} R {p['recall']:.4f} F1 {p['f1']:.4f} exact {c['exact_f1']:.4f} "
    f"over-merged {c['over_merged']} {r['records_per_second']:.0f} records/s"
)
