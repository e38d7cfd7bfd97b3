#!/usr/bin/env bash
# What a machine without network needs for gpu.sh, in FOLDER: just the corpora that training reads (training/sources.py;
# about 10 MB), and in FOLDER/start, if MODEL is given, that model with its base in 8 bits, to go on from (START): 61 MB
# for 12 layers, in files under 30 MB, so that it can be carried there in two pieces.
# Usage: training/runs/pack.sh CORPORA FOLDER [MODEL]
set -euo pipefail
mkdir -p "$2"
install -m 644 "$1/synthetic_persona_chat.valid.jsonl.gz" "$2/"
for source in self_dialogue ms_chitchat african_storybook fairytale_stories common_voice_sentences; do
  install -m 644 "$1/$source.train.jsonl.gz" "$2/"
done
if [ -n "${3:-}" ]; then
  "${PYTHON:-python3}" -m training.compression "$3/base" "$2/start/base" --max-shard-size 29MB
  [ ! -d "$3/generator" ] || cp -r "$3/generator" "$2/start/"
fi
du -sh "$2"
