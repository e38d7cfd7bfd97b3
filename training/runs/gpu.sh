#!/usr/bin/env bash
# One piece, of at most 9.5 minutes, of a run of about 25 minutes on one large GPU without network: run it again, with
# the same OUT, for the next piece. Python with torch, transformers, safetensors and tqdm is all that it needs.
# Usage: training/runs/gpu.sh CORPORA OUT [EXPORT], CORPORA as pack.sh leaves it in FOLDER/corpora
#
# EXPORT receives the weights so far and the loss log as a few files under 15 MB: a tar of a model folder whose own
# files are all under 15 MB too. Join them with: cat EXPORT/model.tar.* | tar -x -C MODEL
# OUT holds what a next piece needs (340 MB), and must stay on the machine between pieces. Where it is lost, the
# exported weights can be gone on from with --start, without their optimiser.
# OUT must not be where files are taken back from between pieces, EXPORT must be; only the last piece needs one.
#
# The learning rate falls over the last 40 % of TOKENS or, with SETTLE=1, of this piece's minutes, if that is sooner: for
# the last piece, or the only one. TOKENS is then about what all pieces can reach, which the curriculum goes by (full at half).
# Batches are drawn by other processes, one for each core but two.
# COMPILE=--compile fuses small kernels, at the cost of about a minute in every piece; never tried on a GPU.
#
# From nothing, which has not been run on a GPU: 28.29 M parameters (base 25.99 M, generator 2.30 M) = 56.6 MB in bfloat16,
# 57.2 MB with its tokenizer; 8 layers would be 62.8 MB. 120,000 tokens a step: the memory circuit needs steps, not tokens alone.
#
# With START, a folder with a pretrained base in START/base (training.trimming) and, to go on from a run, its generator in
# START/generator (training.export; what MEMORY says has to be so in it), that is trained in place of a model from nothing, as
# pretrained.sh does, and exported in BITS a weight, its replies guided by GUIDANCE. A base alone heals first, for HEALING
# minutes, mostly in plain English;
# without TOKENS the healing's speed says how many WHOLE minutes of pieces (MINUTES, where nothing is said) will reach.
# 12 layers in 8 bits are 57 MB (training.compression, which needs compressed-tensors and what that needs: pydantic,
# loguru): small enough to be carried there, and to be bundled. An H100 makes 311,000 tokens/s of steps
# of 96,000, an eighth of the measured matmul rate. Beginning takes 10 s a process, an export 15 s.
# EVERYDAY of what is drawn is what people tell a stranger most often, the rest all there is, evenly; RECALLED of the denials
# stand beside what is known instead (see everyday.sh).
# The shipped weights are an hour of everyday.sh over three runs of this: HEALING=0.45 MINUTES=3.6 SETTLE=1
# BATCH=48000 over the base alone (with the mix of 03ac363),
# MINUTES=9.15 SETTLE=1 over what that exported (with the mix of 1b07c7b), and MINUTES=9.15 SETTLE=1 once more over
# what that exported (as at 542ecc8, EVERYDAY=0.7 RECALLED=0.3 NEVER_TOLD=1); GUIDANCE was chosen after.
# What the next one is to mend is in models/README.md.
set -euo pipefail
corpora=$1 out=$2 export=${3:-}
python=${PYTHON:-python3}
export TOKENIZERS_PARALLELISM=false # the workers are the parallelism
ulimit -n "$(ulimit -Hn)"           # every tensor that a worker hands over is an open file
cores=$(nproc)

minutes=${MINUTES:-8.5} whole=${WHOLE:-${MINUTES:-8.5}}
# How many tokens so many minutes can reach that are as fast as the last steps of LOG, but for 10 s at the beginning.
within='
import json, sys
first, *_, last = [json.loads(line) for line in open(sys.argv[1])][-20:]
rate = (last["tokens"] - first["tokens"]) / (last["seconds"] - first["seconds"])
print(round(rate * (60 * float(sys.argv[2]) - 10)))
'

train() {
  "$python" -m training.train --corpora "$corpora" --save-minutes 4 --workers $((cores > 2 ? cores - 2 : 0)) ${COMPILE:-} "$@"
}

if [ -n "${START:-}" ]; then
  read -ra memory <<< "${MEMORY:---target mlp --before 5 --after 3 --state-size 192}"
  base=$START/base
  if [ ! -d "$START/generator" ]; then
    base=$out/healed/base
    [ -d "$base" ] || train --out "$out/healing" --pretrained "$START/base" --wider --plain 0.6 --besides 0.5 --never-told 0.5 \
      --tokens "${HEALING_TOKENS:-20000000}" --minutes "${HEALING:-0.8}" --settle --batch-tokens "${BATCH:-48000}" --lr 2e-3 --base-lr 0.4 \
      --warmup-steps 20 --state-size 96
    [ -d "$base" ] || "$python" -m training.export "$out/healing" "$out/healed"
    TOKENS=${TOKENS:-$("$python" -c "$within" "$out/healing/log.jsonl" "$whole")}
  fi
  model=(--pretrained "$base" "${memory[@]}" --base-lr 0.3 --plain 0.18 --besides 0.7 --wider --everyday "${EVERYDAY:-0.7}" --never-told "${NEVER_TOLD:-0.8}" --recalled "${RECALLED:-0.3}" --heavy 0.2 --faint 0.7
    --batch-tokens "${BATCH:-96000}" --lr 2.2e-3 --warmup-steps 50)
  if [ -d "$START/generator" ]; then model+=(--start "$START"); fi
else
  model=(--hidden-size 512 --layers 7 --heads 8 --state-size 160 --vocab-size 8192
    --batch-tokens "${BATCH:-120000}" --lr 1.5e-3 --warmup-steps 150)
fi

train --out "$out" "${model[@]}" --tokens "${TOKENS:-700000000}" --seed "${SEED:-0}" --minutes "$minutes" ${SETTLE:+--settle}

if [ -n "$export" ]; then
  mkdir -p "$export"
  "$python" -m training.export "$out" "$out/model" --max-shard-size 14MB ${START:+--bits "${BITS:-8}" --guidance "${GUIDANCE:-1.1}"}
  cp "$out/log.jsonl" "$out/model/"
  tar -C "$out/model" -c . | split -b 14500000 -d - "$export/model.tar."
fi
