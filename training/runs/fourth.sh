#!/usr/bin/env bash
# The fourth stage of the shipped weights: the third once more, from its weights and with other dice; since then the catalogue has 11,000 more
# phrasings, hasty words are answered too, tellings stand amid other talk, and half of the questions about things never told are near misses.
# Usage: [TOKENS=N] training/runs/fourth.sh CORPORA OUT START, where START is the model folder that third.sh's run exported
set -euo pipefail
TOKENS=${TOKENS:-46000000} SEED=4 exec "$(dirname "$0")/third.sh" "$@"
