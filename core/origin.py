"""Where a model comes from: folders on this machine, or names on the Hugging Face hub.

The only place that may use the network, and only for a name that a person gave. Knows no weights.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import CheckpointError, first_line

HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
WANTED = ("*.safetensors", "*.json", "*.jinja", "tokenizer.model", "merges.txt")  # weights as pickle are never fetched
CONFIGS = ("*.json",)
UNWANTED = ("consolidated*", "original/*")  # the same weights once more, in another layout


@dataclass(frozen=True)
class Origin:
    """A base and its generator: each a folder, or `OWNER/NAME` or `OWNER/NAME@REVISION` on the hub.

    Without `generator`, `model` is a folder that holds both, as base/ and generator/. `lora` is a plain LoRA that
    becomes part of the base.
    """

    model: str
    generator: str | None = None
    lora: str | None = None

    @property
    def name(self) -> str:
        """What the model is called; a folder base/ as the model that it is a part of."""
        path = Path(self.model.partition("@")[0])
        return path.parent.name if path.name == "base" and path.is_dir() else path.name

    @property
    def base_name(self) -> str:
        """What others know the base by: all of a name on the hub; of a folder, no path of this machine."""
        return self.name if Path(self.model).is_dir() else self.model.partition("@")[0]

    def parts(self, wanted: Sequence[str] = WANTED) -> dict[str, Path]:
        """The folder of each part, once what is `wanted` of it and not here is fetched.

        Raise CheckpointError where one is missing.
        """
        if self.generator:
            found = {"base": folder_of(self.model, wanted), "generator": folder_of(self.generator, wanted)}
        else:
            folder = folder_of(self.model, wanted)
            found = {part: folder / part for part in ("base", "generator")}
            for part, inside in found.items():
                if not inside.is_dir():
                    raise CheckpointError(
                        f"{folder} has no folder {part}/; a model folder holds base/ and generator/, "
                        "and a base alone needs --generator."
                    )
        return found | ({"lora": folder_of(self.lora, wanted)} if self.lora else {})


def folder_of(name: str, wanted: Sequence[str] = WANTED) -> Path:
    """The folder of this path, or of this name on the hub, whose files are fetched unless the hub's cache has them."""
    if Path(name).is_dir():
        return Path(name)
    if not HUB_NAME.fullmatch(name) or name.startswith("."):
        raise CheckpointError(f"There is no model folder at {name}; give another folder, or OWNER/NAME on the hub.")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    repository, _, revision = name.partition("@")
    chosen: dict[str, Any] = {
        "revision": revision or None,
        "allow_patterns": list(wanted),
        "ignore_patterns": list(UNWANTED),
    }
    try:
        # What is here stays what it is: a newer version would make every memory another model's.
        here = Path(snapshot_download(repository, local_files_only=True, **chosen))
        if _is_whole(here, wanted):
            return here
    except LocalEntryNotFoundError:
        pass
    try:
        fetched = Path(snapshot_download(repository, **chosen))
    except Exception as error:  # of the hub, of its HTTP library, and of its own downloader: they share no root
        raise CheckpointError(
            f"{repository} is no folder here and cannot be fetched from the hub ({first_line(error)}); "
            "check the name, the network and HF_TOKEN."
        ) from error
    if not _is_whole(fetched, wanted):
        raise CheckpointError(
            f"{repository} has no weights in safetensors, here or on the hub; check name and network."
        )
    return fetched


def _is_whole(folder: Path, wanted: Sequence[str]) -> bool:
    """Whether weights are there, if they are wanted: some tools fetch a tokenizer alone."""
    return wanted is not WANTED or any(folder.rglob("*.safetensors"))
