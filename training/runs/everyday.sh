#!/usr/bin/env bash
# Going on from weights over a pretrained base, the shipped ones unless START says, with what people tell a stranger most
# often drawn most often: scenes, plain phrasings, usual kinds. On two cores with bfloat16 units 786 tokens a
# second and more since, without 363 (models/README.md).
# EVERYDAY of what is drawn is that; the rest is drawn as before, so that it is not forgotten. A step goes by ACCUMULATE
# batches, since each has one load: of a batch this small that holds 70 facts there are two, and what they say is noise.
# RECALLED of the denials stand beside what is known instead: "Your dog is called Rex, but you haven't told me ...".
# What is exported is guided as the shipped weights are, which this made for an hour over the GPU's (models/README.md):
# RECALLED=0.3 NEVER_TOLD=0.8 HEAVY=0.25 LR=7e-4 SEED=63 MINUTES=62 TOKENS=3800000.
# A run that was stopped goes on when it is run again, with MINUTES as what is left.
# Usage: [MINUTES=70] [TOKENS=2000000] [RECALLED=0] [START=DIR] training/runs/everyday.sh CORPORA OUT; the model folder is OUT/model
set -euo pipefail
python=${PYTHON:-python} start=${START:-models/imprint-mini}
export MALLOC_MMAP_THRESHOLD_=4000000000 MALLOC_TRIM_THRESHOLD_=8000000000 # see third.sh
"$python" -m training.train --corpora "$1" --out "$2/run" --pretrained "$start/base" --start "$start" --wider --everyday "${EVERYDAY:-0.6}" \
  --target mlp --before 5 --after 3 --state-size 192 --base-lr 0.3 --plain 0.18 --besides 0.7 --never-told "${NEVER_TOLD:-1}" --recalled "${RECALLED:-0}" --heavy "${HEAVY:-0.2}" --faint 0.7 \
  --tokens "${TOKENS:-2000000}" --minutes "${MINUTES:-70}" --settle --batch-tokens "${BATCH:-6000}" --accumulate "${ACCUMULATE:-4}" --lr "${LR:-5e-4}" --warmup-steps 5 --seed "${SEED:-0}"
"$python" -m training.export "$2/run" "$2/model" --max-shard-size 14MB --bits 8 --guidance "${GUIDANCE:-1.1}"
