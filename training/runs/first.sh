#!/usr/bin/env bash
# The first stage of the shipped weights: about 82 minutes on two cores (bfloat16), resumable by running it again.
# Usage: training/runs/first.sh CORPORA OUT
set -euo pipefail
python=${PYTHON:-python}
exec "$python" -m training.train --corpora "$1" --out "$2" \
  --hidden-size 256 --layers 6 --heads 4 --state-size 96 --vocab-size 4096 \
  --tokens 21000000 --batch-tokens 12000 --lr 2e-3 --seed 0
