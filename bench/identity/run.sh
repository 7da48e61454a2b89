#!/usr/bin/env bash
# Splink (PyPI, in a venv) beside ours, on the same files. Usage: bench/identity/run.sh TRAMA DATA_DIR [WORK_DIR]
# DATA_DIR holds febrl3.csv, febrl4a.csv, febrl4b.csv, o10k.csv.gz, o100k.csv.gz and their truth files, score.py,
# and norm_omni.py with its pools.json, by which Splink gets columns as good as ours on the last two.
# Both sides print the same columns: pairs within clusters, exact clusters, clusters of several people, speed. Ours decides with
# the weights it ships, one record after the other; Splink trains on the set first and decides in one go.
set -euo pipefail
trama=$1 data=$2 work=${3:-.dev/bench-identity}
here=$(cd "$(dirname "$0")" && pwd)
mappings=$here/../../examples/identity/mappings
mkdir -p "$work"

# What ours promises is checked row by row (gate.py); whoever comes later in this file, a broken promise is the exit code.
failed=0
trap 'code=$?; [ $code -ne 0 ] || [ $failed -eq 0 ] || { echo "bench-identity: a gate FAILED, see above" >&2; exit 1; }' EXIT

ours() { # name mapping truth records...
    local name=$1 mapping=$2 truth=$3; shift 3
    local files=() ; for file in "$@"; do files+=(--records "$file"); done
    [ $# -eq 2 ] && files+=(--link)
    "$trama" identity eval --mapping "$mappings/$mapping.yaml" --truth "$truth" "${files[@]}" > "$work/$name.json"
    python3 "$here/row.py" "ours    $name" "$work/$name.json"
    python3 "$here/gate.py" figures "$name" "$work/$name.json" || failed=1
}
ours febrl3 febrl-no-ssn "$data/febrl3.truth.csv" "$data/febrl3.csv"
ours febrl4 febrl-no-ssn "$data/febrl4.truth.csv" "$data/febrl4a.csv" "$data/febrl4b.csv"
ours o10k omnichannel "$data/o10k.truth.csv.gz" "$data/o10k.csv.gz"
ours o100k omnichannel "$data/o100k.truth.csv.gz" "$data/o100k.csv.gz"

# The same records in two other orders of arrival come to the same people.
for seed in 1 2; do
    python3 "$here/shuffle.py" "$seed" "$data/o100k.csv.gz" "$work/shuffled-$seed.csv"
    "$trama" identity eval --mapping "$mappings/omnichannel.yaml" --records "$work/shuffled-$seed.csv" \
        --clusters "$work/shuffled-$seed.clusters.csv" > "$work/shuffled-$seed.json"
done
python3 "$here/gate.py" agreement o100k-order "$work"/shuffled-{1,2}.clusters.csv || failed=1

for style in it us; do
    python3 "$here/households.py" --style "$style" --households 3000 --seed 1 --out "$work/households-$style"
    ours "homes-$style" households "$work/households-$style.truth.csv" "$work/households-$style.csv"
done

if [ ! -x "$work/venv/bin/python" ]; then
    python3 -m venv "$work/venv" && "$work/venv/bin/pip" install --quiet 'splink==5.0.0' 'duckdb==2.0.0' 'pandas==3.1.1' || {
        echo "splink: cannot be installed here, ours alone is shown" >&2
        rm -rf "$work/venv"
        exit 0
    }
fi
export PYTHONDONTWRITEBYTECODE=1 # the scripts share modules; no caches in the sources
"$work/venv/bin/python" "$here/splink_febrl.py" "$data" "$work"
if [ -f "$data/norm_omni.py" ]; then
    "$work/venv/bin/python" "$here/splink_omni.py" "$data" "$work"
else
    echo "splink: no norm_omni.py in $data, o10k and o100k are left out" >&2
fi
