#!/usr/bin/env bash
# Every figure of how good the bundled model is: recall, readout, capacity, conversations, perplexity.
# Usage: [STREAMS=9 TOGETHER=48 OTHERS=3] benchmarks/runs/quality.sh EVALUATION CORPORA [RESULTS], the folders with msc.valid
# and the test splits; two runs side by side, where nothing is said
set -euo pipefail
python=${PYTHON:-python} results=${3:-benchmarks/results}
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
STREAMS=${STREAMS:-1} "$(dirname "$0")/recall.sh" "$results" & recall=$!
xargs -P "${OTHERS:-1}" -L 1 "$python" -m << LINES
benchmarks.perplexity --msc $1/msc.valid.jsonl.gz --dialogues 30 --json $results/perplexity.json --plain $2/synthetic_persona_chat.test.jsonl.gz $2/topical_chat.test.jsonl.gz
benchmarks.conversations --out $results/conversations.md
benchmarks.capacity --json $results/capacity.json
benchmarks.readout --json $results/readout.json
LINES
wait "$recall"
