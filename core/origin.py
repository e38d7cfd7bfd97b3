"""Where a model comes from: folders on this machine, or names on the Hugging Face hub.

The only place that may use the network, and only for a name that a person gave. Knows no weights.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from core.errors import CheckpointError

HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
WANTED = ("*.safetensors", "*.json", "*.jinja", "tokenizer.model", "merges.txt")  # weights as pickle are never fetched
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
        """What the model is called."""
        return Path(self.model.partition("@")[0]).name

    def parts(self) -> dict[str, Path]:
        """The folder of each part, once what is not here is fetched; raise CheckpointError where one is missing."""
        if self.generator:
            found = {"base": folder_of(self.model), "generator": folder_of(self.generator)}
        else:
            folder = folder_of(self.model)
            found = {part: folder / part for part in ("base", "generator")}
            for part, inside in found.items():
                if not inside.is_dir():
                    raise CheckpointError(
                        f"{folder} has no folder {part}/; a model folder holds base/ and generator/, "
                        "and a base alone needs --generator."
                    )
        return found | ({"lora": folder_of(self.lora)} if self.lora else {})


def folder_of(name: str) -> Path:
    """The folder of this path, or of this name on the hub, fetched into its cache unless it is there already."""
    if Path(name).is_dir():
        return Path(name)
    if not HUB_NAME.fullmatch(name) or name.startswith("."):
        raise CheckpointError(f"There is no model folder at {name}; give another folder, or OWNER/NAME on the hub.")
    return _fetched(*name.partition("@")[::2])


def _fetched(repository: str, revision: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(
                repository, revision=revision or None, allow_patterns=list(WANTED), ignore_patterns=list(UNWANTED)
            )
        )
    except (OSError, ValueError) as error:  # what the hub raises is an OSError, and offline one of either
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise CheckpointError(
            f"{repository} is no folder here and cannot be fetched from the hub ({reason}); "
            "check the name, the network and HF_TOKEN."
        ) from error
