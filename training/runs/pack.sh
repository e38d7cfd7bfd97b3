#!/usr/bin/env bash
# Copies just the corpora that training reads (training/sources.py; about 10 MB) into FOLDER, to be carried to a
# machine without network.
# Usage: training/runs/pack.sh CORPORA FOLDER
set -euo pipefail
mkdir -p "$2"
install -m 644 "$1/synthetic_persona_chat.valid.jsonl.gz" "$2/"
for source in self_dialogue ms_chitchat african_storybook fairytale_stories common_voice_sentences; do
  install -m 644 "$1/$source.train.jsonl.gz" "$2/"
done
du -sh "$2"
