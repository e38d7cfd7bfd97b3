#!/usr/bin/env bash
# The seventh stage: the sixth's data once more from the shipped mean, with other dice, and an eighth of the steps with memories of 40 to 100 facts.
# Not in the shipped weights: see models/README.md.
# Usage: [TOKENS=N] training/runs/seventh.sh CORPORA OUT START, where START is the mean: see stages.sh
set -euo pipefail
TOKENS=${TOKENS:-60000000} SEED=8 LR=1.2e-3 exec "$(dirname "$0")/third.sh" "$1" "$2" "$3" --wider --heavy 0.12
