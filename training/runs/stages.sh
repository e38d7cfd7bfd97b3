#!/usr/bin/env bash
# The weights that shipped before those over a pretrained base, from nothing, in six stages and two means: 174 M tokens on
# two cores, about six hours where the processor has bfloat16 units (8,000 tokens/s; never run as a whole). The stages as they stand draw other dialogues, and step with another optimiser,
# than the first two did when they were run, and the last mean takes a checkpoint on the way that only a run's own copying keeps: see models/README.md.
# Resumable by running it again.
# Usage: training/runs/stages.sh CORPORA OUT; the model folder is OUT/model
set -euo pipefail
here=$(dirname "$0") python=${PYTHON:-python}
"$here/first.sh" "$1" "$2/first"
"$python" -m training.export "$2/first" "$2/start"
"$here/second.sh" "$1" "$2/second" "$2/start"
"$python" -m training.export "$2/second" "$2/start-third"
"$here/third.sh" "$1" "$2/third" "$2/start-third"
"$python" -m training.export "$2/third" "$2/start-fourth"
"$here/fourth.sh" "$1" "$2/fourth" "$2/start-fourth"
"$python" -m training.export "$2/fourth" "$2/start-fifth"
"$here/fifth.sh" "$1" "$2/fifth" "$2/start-fifth"
"$python" -m training.export "$2/fifth" "$2/model-fifth"
"$python" -m training.average "$2/start-sixth" "$2/start-fifth:1" "$2/model-fifth:1"
"$here/sixth.sh" "$1" "$2/sixth" "$2/start-sixth"
"$python" -m training.export "$2/sixth" "$2/model-sixth"
"$python" -m training.average "$2/model" "$2/start-fifth:1" "$2/model-fifth:1" "$2/model-sixth:2"
