#!/usr/bin/env bash
# The fifth stage of the shipped weights: the third once more, from the fourth's and with other dice, and with the phrasings, values and kinds
# of catalogue/wider/. models/README.md says what came of it.
# Usage: [TOKENS=N] training/runs/fifth.sh CORPORA OUT START, where START is the model folder that fourth.sh's run exported
set -euo pipefail
TOKENS=${TOKENS:-24000000} SEED=6 exec "$(dirname "$0")/third.sh" "$1" "$2" "$3" --wider
