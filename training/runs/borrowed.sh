#!/usr/bin/env bash
# A large GPU that is lent for a quarter of an hour, without network, and to which 64 MB can be carried at a time. What
# pack.sh left in PACK is enough; each call wants its parts of it carried, and what it makes stays in WORK for the next:
#   install  PACK/wheels and PACK/start-1: the packages, and the first part of the weights to go on from
#   train    PACK/start-2 and PACK/corpora: gpu.sh for MINUTES, once more with two thirds of a batch where that fails early;
#            weights and loss log are in OUT
#   recall   nothing: benchmarks/runs/recall.sh with the new weights for LIMIT seconds, without its two longest; OUT/recall.tgz
# An H100 got through ten of its twelve larger sets of cases in 150 seconds. Where an idle machine is taken back soon, call
# recall at once; the fourth stage's came too late. Installing takes 4 s there, training and exporting 585.
# Usage: [WORK=/tmp/borrowed] [MINUTES=9.15] [LIMIT=190] training/runs/borrowed.sh install|train|recall PACK OUT
set -euo pipefail
call=$1 pack=$2 out=$3 work=${WORK:-/tmp/borrowed} began=$SECONDS
here=$(dirname "$0")
export PYTHON=${PYTHON:-python3} PYTHONPATH=$work/site:$PWD PYTHONUNBUFFERED=1 TQDM_DISABLE=1
export PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True
mkdir -p "$work/start" "$out"

train() { # MINUTES LIMIT
  MINUTES=$1 START=$work/start SETTLE=1 timeout "$2" "$here/gpu.sh" "$work/corpora" "$work/run" "$out" >> "$out/log.txt" 2>&1
}

case $call in
  install)
    cp -r "$pack/start-1/." "$work/start/"
    "$PYTHON" -m pip install --quiet --no-index --no-deps --no-compile --upgrade --target "$work/site" "$pack"/wheels/*.whl
    ;;
  train)
    cp -r "$pack/start-2/." "$work/start/"
    cp -r "$pack/corpora" "$work/"
    minutes=${MINUTES:-9.15}
    limit=$("$PYTHON" -c "print(round(60 * $minutes) + 36)") # an export takes 15 s, beginning 10
    if ! train "$minutes" "$limit"; then
      tail -c 1500 "$out/log.txt"
      left=$((limit - (SECONDS - began)))
      [ "$left" -gt 120 ] || exit 1
      export BATCH=64000
      train "$("$PYTHON" -c "print(round(($left - 36) / 60, 2))")" "$left"
    fi
    gzip -c "$work/run/log.jsonl" > "$out/log.jsonl.gz"
    tail -n 1 "$work/run/log.jsonl"
    ;;
  recall)
    rm -rf "$work/imprint-mini"
    cp -r "$work/run/model" "$work/imprint-mini"
    export IMPRINT_MODEL=$work/imprint-mini IMPRINT_DTYPE=float32
    mkdir -p "$out/recall"
    STREAMS=12 TOGETHER=64 SKIP=2 timeout "${LIMIT:-190}" "$(dirname "$0")/../../benchmarks/runs/recall.sh" "$out/recall" || true
    ls "$out/recall"
    tar -C "$out" -czf "$out/recall.tgz" recall # few files may come back from where a GPU is lent
    rm -r "$out/recall"
    ;;
esac
echo "$call: $((SECONDS - began)) s"
