#!/usr/bin/env bash
# Every figure of the README and the model card: what is timed alone first, then the rest in two streams on two cores.
# Some four hours, by its parts; wants nothing else to run beside it, and PostgreSQL's server (Debian's package) installed.
# Usage: [SEED=2027] benchmarks/runs/all.sh EVALUATION CORPORA, the folders with msc.valid and the test splits
set -euo pipefail
python=${PYTHON:-python} results=benchmarks/results
"$python" -m benchmarks.speed --json $results/speed.json
"$python" -m benchmarks.start --json $results/start.json
"$python" -m benchmarks.load --minutes "${LOAD_MINUTES:-10}" --json $results/load.json
"$python" -m benchmarks.dry_run --json $results/dry_run.json
"$python" -m benchmarks.decomposition --json $results/decomposition.json
"$python" -m benchmarks.memory_control --json $results/memory_control.json
export OMP_NUM_THREADS=1
"$(dirname "$0")/quality.sh" "$1" "$2"
"$python" -m benchmarks.crash --kills 50 --json $results/crash.json
"$python" -m benchmarks.crash_verbs --kills 300 --json $results/crash_verbs.json
"$python" -m benchmarks.crash_verbs --on sealed --kills 100 --json $results/crash_verbs_sealed.json
"$python" -m benchmarks.crash_verbs --on postgresql --kills 300 --json $results/crash_verbs_postgresql.json
"$python" -m benchmarks.figures
"$python" -m benchmarks.chart
