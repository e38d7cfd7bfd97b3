#!/usr/bin/env bash
# The third stage of the shipped weights: goes on from those of second.sh with Muon, memories of up to 40 facts, replies that say what was
# understood, garbled phrasings, replies beside the point folded without harm, and people's talk gone on with through a memory.
# About 80 minutes on two cores with bfloat16 units (9,000 tokens/s), resumable by running it again.
# Usage: [TOKENS=N] [LR=X] training/runs/third.sh CORPORA OUT START [FLAG...], where START is the model folder that second.sh's run exported
set -euo pipefail
python=${PYTHON:-python}
# Freed memory stays with the process: giving it back and asking for it again costs a twentieth of a step.
export MALLOC_MMAP_THRESHOLD_=4000000000 MALLOC_TRIM_THRESHOLD_=8000000000
exec "$python" -m training.train --corpora "$1" --out "$2" --start "$3" \
  --hidden-size "${HIDDEN:-256}" --layers "${LAYERS:-6}" --heads "${HEADS:-4}" --state-size "${STATE:-96}" --vocab-size 4096 --compile \
  --tokens "${TOKENS:-42000000}" --batch-tokens 16000 --lr "${LR:-2e-3}" --warmup-steps 50 --seed "${SEED:-3}" "${@:4}"
