#!/usr/bin/env bash
# The ninth stage: goes on from the eighth's mean with its wider states, other dice, a lower learning rate that falls to nothing, an eighth of the
# steps with memories of 40 to 100 facts.
# Usage: [TOKENS=N] training/runs/ninth.sh CORPORA OUT START, where START is the model folder of the eighth stage's mean: see models/README.md
set -euo pipefail
TOKENS=${TOKENS:-32000000} SEED=10 LR=1.2e-3 STATE=160 exec "$(dirname "$0")/third.sh" "$1" "$2" "$3" --wider --heavy 0.125 --never-told 0.5
