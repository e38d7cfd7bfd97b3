#!/usr/bin/env bash
# The second stage of the shipped weights: goes on from those of first.sh with the larger catalogue; about 85 minutes on two
# cores without bfloat16 units (2,600 tokens/s), resumable by running it again.
# Usage: training/runs/second.sh CORPORA OUT START, where START is the model folder that first.sh's run exported
set -euo pipefail
python=${PYTHON:-python}
exec "$python" -m training.train --corpora "$1" --out "$2" --start "$3" \
  --hidden-size 256 --layers 6 --heads 4 --state-size 96 --vocab-size 4096 \
  --tokens 13000000 --batch-tokens 10000 --lr 2e-3 --seed 1
