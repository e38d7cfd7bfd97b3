#!/usr/bin/env bash
# The fifth stage of the shipped weights: two more layers, laid into the fourth stage's; the catalogue has 60 more kinds and longer lists of
# values, a tenth of the steps have memories of 40 to 100 facts, and more of people's talk is gone on with through memories.
# About 80 minutes on two cores with bfloat16 units (5,500 tokens/s), resumable by running it again.
# Usage: [TOKENS=N] training/runs/fifth.sh CORPORA OUT START, where START is the model folder that fourth.sh's run exported
set -euo pipefail
TOKENS=${TOKENS:-26500000} SEED=5 LAYERS=8 exec "$(dirname "$0")/third.sh" "$@"
