#!/usr/bin/env bash
# What a machine without network needs for gpu.sh and for the figures after it, in FOLDER, in pieces that are carried there
# one by one where little may be carried at once:
#   corpora     (10 MB) just what training reads (training/sources.py)
#   start-1, -2 (57 MB, if MODEL is given) that model with its base in 8 bits, to go on from: put them together as START
#   wheels      (32 MB, with WHEELS=3.12, the version of Python there) what the app needs beside torch, in the versions that
#               are installed here; for pip install --no-index --no-deps --target
# Usage: [WHEELS=3.12] training/runs/pack.sh CORPORA FOLDER [MODEL]
set -euo pipefail
python=${PYTHON:-python3}
mkdir -p "$2/corpora"
install -m 644 "$1/synthetic_persona_chat.valid.jsonl.gz" "$2/corpora/"
for source in self_dialogue ms_chitchat african_storybook fairytale_stories common_voice_sentences; do
  install -m 644 "$1/$source.train.jsonl.gz" "$2/corpora/"
done
if [ -n "${3:-}" ]; then
  mkdir -p "$2/start-1/base" "$2/start-2/base"
  "$python" -m training.compression "$3/base" "$2/start-1/base" --max-shard-size 19MB
  mv "$2"/start-1/base/model-0000[2-9]* "$2/start-2/base/"
  [ ! -d "$3/generator" ] || cp -r "$3/generator" "$2/start-2/"
fi
if [ -n "${WHEELS:-}" ]; then
  needed='transformers|tokenizers|huggingface-hub|huggingface_hub|httpx2|httpcore2|truststore|anyio|sniffio|h11|idna|tqdm|peft'
  needed+='|compressed-tensors|loguru|pydantic|pydantic_core|pydantic-settings|python-dotenv|annotated-types|typing-inspection'
  needed+='|typing_extensions|SQLAlchemy|alembic|Mako|argon2-cffi|argon2-cffi-bindings|cffi|pycparser|cryptography|prometheus_client'
  platforms=(); for libc in 2014 _2_17 _2_24 _2_26 _2_27 _2_28 _2_34; do platforms+=(--platform "manylinux${libc}_x86_64"); done
  "$python" -m pip freeze | grep -iE "^($needed)==" > "$2/wheels.txt"
  "$python" -m pip download --quiet --no-deps --only-binary=:all: --python-version "$WHEELS" "${platforms[@]}" \
    -d "$2/wheels" -r "$2/wheels.txt"
fi
du -sh "$2"/*
