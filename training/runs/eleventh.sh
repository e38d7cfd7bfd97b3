#!/usr/bin/env bash
# The eleventh stage: goes on from the mean of the eighth's mean and the ninth, with memories that are fainter by chance, down to a third, so that
# words never met, which wake a memory less, are answered all the same; and with questions to the bare base that nobody told anything.
# Usage: [TOKENS=N] training/runs/eleventh.sh CORPORA OUT START, where START is the model folder of that mean: see models/README.md
set -euo pipefail
TOKENS=${TOKENS:-11000000} SEED=${SEED:-21} LR=${LR:-1e-3} STATE=160 exec "$(dirname "$0")/third.sh" "$1" "$2" "$3" \
  --wider --heavy 0.1 --never-told 0.6 --faint "${FAINT:-0.35}" "${@:4}"
