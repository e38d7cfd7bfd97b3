#!/usr/bin/env bash
# The eighth stage: wider states (160 x 160 a layer, where the shipped ones are 96 x 96), a fifth of the steps with memories of 40 to 100 facts,
# and fewer questions about what was never told, since what was told is denied too often.
# Usage: [TOKENS=N] training/runs/eighth.sh CORPORA OUT START, where START is the model folder of the sixth stage's mean: see stages.sh
set -euo pipefail
TOKENS=${TOKENS:-30000000} SEED=9 LR=1.5e-3 STATE=160 exec "$(dirname "$0")/third.sh" "$1" "$2" "$3" --wider --heavy 0.2 --never-told 0.45
