#!/usr/bin/env bash
# The tenth stage: a broader base (d 384 and 6 heads in place of d 256 and 4, laid around the old weights), with the eighth's wider states.
# About 4,700 tokens/s on two cores with bfloat16 units. Run to 16 M tokens so far: see models/README.md.
# Usage: [TOKENS=N] training/runs/tenth.sh CORPORA OUT START, where START is the model folder of the ninth stage's mean: see models/README.md
set -euo pipefail
TOKENS=${TOKENS:-60000000} SEED=11 LR=1.5e-3 STATE=160 HIDDEN=384 HEADS=6 exec "$(dirname "$0")/third.sh" "$1" "$2" "$3" --wider --heavy 0.1 --never-told 0.5
