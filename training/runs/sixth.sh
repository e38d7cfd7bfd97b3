#!/usr/bin/env bash
# The sixth stage of the shipped weights: from the mean of the fourth's and the fifth's, with a smaller learning rate, the phrasings, values and
# kinds of catalogue/wider/, and talk that has nothing to do with it read through every memory, not every second one,
# at a weight of 0.5, not 0.3. The shipped weights take it at 15.6 M and 20.0 M tokens; it was stopped at 20.4 M, before the learning rate had fallen.
# Usage: [TOKENS=N] training/runs/sixth.sh CORPORA OUT START, where START is the mean: see stages.sh
set -euo pipefail
TOKENS=${TOKENS:-28000000} SEED=7 LR=1.2e-3 exec "$(dirname "$0")/third.sh" "$1" "$2" "$3" --wider
