#!/usr/bin/env bash
# A model of 6.3 M parameters from nothing, in one run of MINUTES on two cores. What the shipped weights took is in their card.
# TOKENS is what the machine can read in that time, since the curriculum goes by it: 4,000 a second with bfloat16 units
# (some read more, and are done sooner), 2,300 without. Whichever of both ends first, the learning
# rate has fallen to nothing by then. In 140 minutes recall is 0.65; in the first 15 memory does not begin (models/README.md).
# A run that was stopped goes on when it is run again, with MINUTES as what is left.
# Usage: [MINUTES=145] [TOKENS=N] training/runs/cpu.sh CORPORA OUT; the model folder is OUT/model
set -euo pipefail
python=${PYTHON:-python} minutes=${MINUTES:-145}
a_second=2300 a_step=6000 # a memory takes steps to learn, not tokens alone
if grep -qsE 'amx_bf16|avx512_bf16' /proc/cpuinfo; then a_second=4000 a_step=12000; fi
export MALLOC_MMAP_THRESHOLD_=4000000000 MALLOC_TRIM_THRESHOLD_=8000000000 # see third.sh
"$python" -m training.train --corpora "$1" --out "$2/run" --wider --compile \
  --hidden-size 256 --layers 6 --heads 4 --state-size 96 --vocab-size 4096 \
  --tokens "${TOKENS:-$((a_second * 60 * minutes))}" --minutes "$minutes" --settle --batch-tokens "$a_step" --lr 2e-3 --warmup-steps 50 --seed "${SEED:-0}"
"$python" -m training.export "$2/run" "$2/model"
