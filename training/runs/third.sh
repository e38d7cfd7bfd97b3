#!/usr/bin/env bash
# The next stage, not yet in the shipped weights: replies to news and small talk with a memory at work, and bad replies folded without
# harm; about 15 minutes on two cores without bfloat16 units, resumable by running it again.
# Usage: training/runs/third.sh CORPORA OUT START, where START is the model folder that second.sh's run exported
set -euo pipefail
python=${PYTHON:-python}
exec "$python" -m training.train --corpora "$1" --out "$2" --start "$3" \
  --hidden-size 256 --layers 6 --heads 4 --state-size 96 --vocab-size 4096 \
  --tokens "${TOKENS:-2000000}" --batch-tokens 8000 --lr 1e-3 --warmup-steps 20 --seed 2 --save-minutes 2
