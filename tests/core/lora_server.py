"""A server that follows the run-time LoRA protocols of vLLM and SGLang over real HTTP, and computes with peft.

It holds the base alone; what it knows of a memory comes from the LoRA folders that it is told to load.
"""

from __future__ import annotations

import json
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
import uvicorn
from fastapi import Body, FastAPI, HTTPException
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

BASE = "tiny-base"
READY, SILENCE = 10.0, 60.0  # seconds


class LoraServer:
    """`kind` is vllm or sglang; LoRAs of a rank above `rank` are refused, as both servers do."""

    def __init__(self, folder: Path, kind: str, rank: int = 64) -> None:
        self.kind, self.rank = kind, rank
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self.loaded, self.ever, self.written = set[str](), list[str](), 0
        self.asked = list[dict[str, Any]]()
        self._lock, self.gate = threading.Lock(), threading.Event()
        self.gate.set()  # while it is not, nothing is written
        self.app = FastAPI()
        prefix = "/v1" if kind == "vllm" else ""
        self.app.get("/v1/models")(lambda: {"object": "list", "data": [{"id": name} for name in (BASE, *self.loaded)]})
        self.app.post(f"{prefix}/load_lora_adapter")(self.load)
        self.app.post(f"{prefix}/unload_lora_adapter")(self.unload)
        self.app.post("/v1/completions")(self.complete)

    def load(self, lora_name: str = Body(), lora_path: str = Body()) -> PlainTextResponse:
        if json.loads((Path(lora_path) / "adapter_config.json").read_text())["r"] > self.rank:
            raise HTTPException(400, f"LoRA rank is greater than max_lora_rank {self.rank}.")
        with self._lock, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if isinstance(self.model, PeftModel):
                self.model.load_adapter(lora_path, lora_name)
            else:
                self.model = PeftModel.from_pretrained(self.model, lora_path, adapter_name=lora_name)
        self.loaded.add(lora_name)
        self.ever.append(lora_name)
        return PlainTextResponse(f"Success: LoRA adapter '{lora_name}' added successfully.")

    def unload(self, lora_name: str = Body(embed=True)) -> PlainTextResponse:
        if lora_name not in self.loaded:
            raise HTTPException(404, f"The lora adapter '{lora_name}' cannot be found.")
        self.loaded.remove(lora_name)
        return PlainTextResponse(f"Success: LoRA adapter '{lora_name}' removed successfully.")

    def complete(self, asked: dict[str, Any]) -> Response:
        if not asked.get("stream"):
            return JSONResponse(self.complete_at_once(asked))
        self.asked.append(asked)
        model = asked["model"]
        name = model if self.kind == "vllm" else model.partition(":")[2]
        if model != BASE and name not in self.loaded:
            raise HTTPException(404, f"The model `{model}` does not exist.")
        pieces = self._pieces(asked, None if model == BASE else name)
        lines = (f"data: {json.dumps({'choices': [{'text': piece}]})}\n\n" for piece in pieces)
        return StreamingResponse(line for part in (lines, ["data: [DONE]\n\n"]) for line in part)

    def complete_at_once(self, asked: dict[str, Any]) -> dict[str, Any]:
        texts = ["".join(self._pieces(asked | {"prompt": prompt}, None)) for prompt in asked["prompt"]]
        return {"choices": [{"index": i, "text": text} for i, text in enumerate(texts)]}

    def _pieces(self, asked: dict[str, Any], name: str | None) -> Iterator[str]:
        prompt, ends = asked["prompt"], {self.tokenizer.eos_token_id, *asked.get("stop_token_ids", ())}
        ids, said = list(prompt), ""
        for _ in range(asked["max_tokens"]):
            self.gate.wait(SILENCE)
            token = self._next(ids, name)
            self.written += bool(asked.get("stream"))
            if token in ends:
                return
            ids.append(token)
            text = self.tokenizer.decode(ids[len(prompt) :], skip_special_tokens=True)
            if not text.endswith("�"):
                yield text[len(said) :]
                said = text

    def _next(self, ids: list[int], name: str | None) -> int:
        with self._lock, torch.no_grad():
            if name:
                self.model.set_adapter(name)
            bare = self.model.disable_adapter() if not name and isinstance(self.model, PeftModel) else nullcontext()
            with bare:
                return int(self.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax())


@contextmanager
def serving(server: LoraServer) -> Iterator[str]:
    """Its address, while it runs."""
    runner = uvicorn.Server(uvicorn.Config(server.app, host="127.0.0.1", port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=runner.run, daemon=True)
    thread.start()
    until = time.monotonic() + READY
    while not runner.started and time.monotonic() < until:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{runner.servers[0].sockets[0].getsockname()[1]}"
    finally:
        runner.should_exit = True
        thread.join(READY)
