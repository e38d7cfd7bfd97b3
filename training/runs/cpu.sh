#!/usr/bin/env bash
# The shipped weights from nothing, in four stages: 122 M tokens on two cores, about four hours where the processor has
# bfloat16 units (9,000 tokens/s; never run as a whole). The stages as they stand draw other dialogues, and step with another optimiser,
# than the first two did when they were run: see the model card. Resumable by running it again.
# Usage: training/runs/cpu.sh CORPORA OUT; the model folder is OUT/model
set -euo pipefail
here=$(dirname "$0") python=${PYTHON:-python}
"$here/first.sh" "$1" "$2/first"
"$python" -m training.export "$2/first" "$2/start"
"$here/second.sh" "$1" "$2/second" "$2/start"
"$python" -m training.export "$2/second" "$2/start-third"
"$here/third.sh" "$1" "$2/third" "$2/start-third"
"$python" -m training.export "$2/third" "$2/start-fourth"
"$here/fourth.sh" "$1" "$2/fourth" "$2/start-fourth"
"$python" -m training.export "$2/fourth" "$2/model"
