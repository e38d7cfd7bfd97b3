#!/usr/bin/env bash
# The way of the shipped weights without a GPU (gpu.sh is how they were made): SmolLM2-135M-Instruct (Apache-2.0) cut down to 12 layers and 12,288 tokens, 49.6 M
# parameters, then trained jointly with a generator that is fitted to it before. models/README.md says how far it was run.
# About 960 tokens/s on two cores with bfloat16 units, resumable by running it again.
# Usage: [TOKENS=N] training/runs/pretrained.sh CORPORA OUT SOURCE [FLAG...], where SOURCE is the model's folder; with a GGUF file in it, GGUF=NAME
set -euo pipefail
corpora=$1 out=$2 source=$3
python=${PYTHON:-python}
export MALLOC_MMAP_THRESHOLD_=4000000000 MALLOC_TRIM_THRESHOLD_=8000000000 # see third.sh
train() {
  "$python" -m training.train --corpora "$corpora" --wider --compile --never-told 0.5 --warmup-steps 20 "$@"
}

[ -e "$out/trimmed/tokenizer.json" ] ||
  "$python" -m training.trimming "$source" "$out/trimmed" --corpora "$corpora" ${GGUF:+--gguf "$GGUF"}
# What was cut heals first: mostly plain English.
train --out "$out/healing" --pretrained "$out/trimmed" --tokens 500000 --batch-tokens 6000 --plain 0.6 --besides 0.5 \
  --lr 2e-3 --base-lr 0.4 --state-size 96
"$python" -m training.export "$out/healing" "$out/healed"
# Memory in the middle layers' MLPs, whose inputs say what a key was made of. In the others a first token, where the base
# keeps what is no word, drowns all others.
train --out "$out/remembering" --pretrained "$out/healed/base" --tokens "${TOKENS:-20000000}" --batch-tokens 5000 --plain 0.18 --besides 0.7 \
  --lr 1.6e-3 --base-lr 0.25 --target mlp --before 5 --after 3 --state-size 128 --seed 2 "${@:4}"
"$python" -m training.export "$out/remembering" "$out/model"
