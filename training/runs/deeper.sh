#!/usr/bin/env bash
# An experiment that nobody has run yet, no part of the shipped weights: two more layers laid into the fourth stage's, and the kinds and values of catalogue/wider/.
# models/README.md says what came of one with more changes. About 75 minutes on two cores with bfloat16 units, resumable by running it again.
# Usage: [TOKENS=N] training/runs/deeper.sh CORPORA OUT START, where START is the model folder that fourth.sh's run exported
set -euo pipefail
TOKENS=${TOKENS:-24300000} SEED=5 LAYERS=8 exec "$(dirname "$0")/third.sh" "$1" "$2" "$3" --wider
