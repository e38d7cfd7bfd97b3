#!/usr/bin/env bash
# Every recall figure of the README and the model card, STREAMS runs side by side: some three hours on two cores, of which
# the whole history of 100 facts in a prompt takes half an hour (the README has that row without it). On a GPU,
# with STREAMS=12 TOGETHER=64 SKIP=2, which leaves out the first two, an H100 with 16 cores got through ten of the others in 150 seconds.
# Usage: [SHARE=5] [SEED=2027] benchmarks/runs/recall.sh [RESULTS]; SHARE times as many generated cases narrow the intervals
set -euo pipefail
python=${PYTHON:-python} results=${1:-benchmarks/results} share=${SHARE:-1}
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
cases() { echo "$1 --generate $((share * $2)) --seed ${SEED:-2027} ${*:3}"; }

# What takes longest comes first.
{
  cases generated 350
  echo 200 --generate 200 --seed 2028
  cases after_200 20 --facts 10 --unrelated 200
  echo 10_facts_second --generate 100 --seed 2058 --facts 10
  cases 100_facts 2 --facts 100 --exactly
  cases 30_facts 5 --facts 30 --exactly
  cases 10_facts 20 --facts 10
  cases planted 20 --facts 10 --planted 20
  cases after_50 20 --facts 10 --unrelated 50
  echo after_50_second --ways memory none --generate 40 --seed 2058 --facts 10 --unrelated 50
  cases near_misses 60 --near
  cases unseen_kinds 40 --unseen-kinds
  cases as_trained 40 --seen telling value question
  cases unseen_telling 40 --seen value question
  cases unseen_value 40 --seen telling question
  cases unseen_question 40 --seen telling value
  echo everyday --cases benchmarks/everyday.jsonl
  echo second --cases benchmarks/second.jsonl
  echo followups --cases benchmarks/followups.jsonl
  echo followups_second --cases benchmarks/followups_second.jsonl
  echo sample --cases tests/fixtures/cases/recall_sample.jsonl
} | sed "s|^\([^ ]*\)|--json $results/recall_\1.json|" |
  tail -n "+$((1 + ${SKIP:-0}))" | xargs -P "${STREAMS:-2}" -L 1 "$python" -m benchmarks.recall --together "${TOGETHER:-16}"
