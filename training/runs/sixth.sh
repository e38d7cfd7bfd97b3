#!/usr/bin/env bash
# The sixth stage of the shipped weights: from the mean of the fourth's and the fifth's, with a smaller learning rate, the phrasings, values and
# kinds of catalogue/wider/, and twice the talk that has nothing to do with the memory it is read through.
# Usage: [TOKENS=N] training/runs/sixth.sh CORPORA OUT START, where START is the mean: see cpu.sh
set -euo pipefail
TOKENS=${TOKENS:-20400000} SEED=7 LR=1.2e-3 exec "$(dirname "$0")/third.sh" "$1" "$2" "$3" --wider
