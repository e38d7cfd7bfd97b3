#!/usr/bin/env bash
# Every recall figure of the README and the model card, in two streams side by side: about 20 minutes on two cores.
# Usage: [SHARE=5] benchmarks/runs/recall.sh [RESULTS]; SHARE times as many generated cases narrow the intervals
set -euo pipefail
python=${PYTHON:-python} results=${1:-benchmarks/results} share=${SHARE:-1}
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
recall() { "$python" -m benchmarks.recall --json "$results/recall_$1.json" "${@:2}"; }
cases() { recall "$1" --generate $((share * $2)) "${@:3}"; }

few() {
  recall sample --cases tests/fixtures/cases/recall_sample.jsonl
  cases generated 200
}
many() {
  cases planted 20 --facts 10 --planted 20
  cases after_50 20 --facts 10 --unrelated 50
  cases unseen_kinds 40 --unseen-kinds
  cases 30_facts 5 --facts 30 --exactly
}
few & one=$!
many
wait "$one"
