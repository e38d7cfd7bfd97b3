#!/usr/bin/env bash
# The shipped weights from nothing, in both stages: 34 M tokens on two cores, about 95 minutes where the processor has bfloat16
# units (6,000 tokens/s), about 3.5 hours where it has not (2,600 tokens/s). Resumable by running it again.
# Usage: training/runs/cpu.sh CORPORA OUT; the model folder is OUT/model
set -euo pipefail
here=$(dirname "$0") python=${PYTHON:-python}
"$here/first.sh" "$1" "$2/first"
"$python" -m training.export "$2/first" "$2/start"
"$here/second.sh" "$1" "$2/second" "$2/start"
"$python" -m training.export "$2/second" "$2/model"
