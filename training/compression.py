"""`python -m training.compression BASE OUT --bits 8`: a base kept in few bits, for a bundle or a wire.

transformers opens it as any other, with the package compressed-tensors beside it, and computes with plain weights.
Linear layers only: words stay in bfloat16. Eight bits have a scale for each row, fewer have one for each GROUP numbers
of it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from compressed_tensors.compressors import ModelCompressor
from compressed_tensors.quantization import (
    QuantizationArgs,
    QuantizationConfig,
    QuantizationScheme,
    apply_quantization_config,
)
from compressed_tensors.quantization.utils import calculate_qparams
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

GROUP = 32


def compress(source: Path, out: Path, bits: int, max_shard_size: str = "50GB") -> None:
    """Write the base and its tokenizer again, in files of at most `max_shard_size`; `bits` from 2 to 8."""
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.bfloat16, local_files_only=True)
    rows = {"strategy": "channel"} if bits == 8 else {"strategy": "group", "group_size": GROUP}
    weights = QuantizationArgs(num_bits=bits, symmetric=True, **rows)
    linear = QuantizationScheme(targets=["Linear"], weights=weights)
    config = QuantizationConfig(config_groups={"linear": linear}, ignore=["lm_head"], format="pack-quantized")
    apply_quantization_config(model, config)
    for module in model.modules():
        if hasattr(module, "weight_scale"):
            module.weight_scale.data.copy_(_scales(module.weight, weights).view_as(module.weight_scale))
    compressor = ModelCompressor(quantization_config=config)
    compressor.compress_model(model)
    model.save_pretrained(out, max_shard_size=max_shard_size)
    compressor.update_config(out)
    _open_as_plain(out / "config.json")
    AutoTokenizer.from_pretrained(source, local_files_only=True).save_pretrained(out)


def _scales(weight: Tensor, args: QuantizationArgs) -> Tensor:
    """Such that the largest number of a row, or of a group of it, is just representable."""
    groups = weight.float().unflatten(-1, (-1, args.group_size or weight.shape[-1]))
    scales, _ = calculate_qparams(groups.amin(-1), groups.amax(-1), args)
    return scales


def _open_as_plain(config: Path) -> None:
    """Have transformers make plain weights of it when it is opened, without being asked to."""
    values = json.loads(config.read_text(encoding="utf-8"))
    values["quantization_config"]["dequantize"] = True
    config.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Compress, and say how large it is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--bits", type=int, choices=range(2, 9), default=8)
    parser.add_argument("--max-shard-size", default="50GB", help="such as 14MB")
    arguments = parser.parse_args()
    compress(arguments.base, arguments.out, arguments.bits, arguments.max_shard_size)
    size = sum(file.stat().st_size for file in arguments.out.iterdir())
    print(f"{arguments.out}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
