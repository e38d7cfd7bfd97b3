"""What a generator's weights were trained with: read from beside them, never guessed."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from core.errors import CheckpointError
from core.families import Target, checked_target


@dataclass(frozen=True)
class GeneratorConfig:
    """Shapes of a generator: d, d_in and d_out of its base, r_k and r_v of its state.

    `window` is how many tokens are read at once when a context is longer; `target` is what the adapters change, in
    `layers` of the base's layers: `before` of them come before those, and `after` after.
    """

    layers: int
    hidden_size: int
    input_size: int
    output_size: int
    key_size: int
    value_size: int
    window: int = 256
    target: Target = "attention"
    before: int = 0
    after: int = 0

    def __post_init__(self) -> None:
        checked_target(self.target)
        for name, value in asdict(self).items():
            if isinstance(value, int | float) and (value < 0 or (not value and name not in ("before", "after"))):
                raise CheckpointError(f"The generator's {name} is {value}; it has to be positive.")

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> GeneratorConfig:
        """Build from parsed JSON; an unknown or missing key is an error."""
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise CheckpointError(
                f"The generator's config holds unknown keys {unknown}; this version knows {sorted(known)}."
            )
        try:
            return cls(**values)
        except TypeError as error:
            raise CheckpointError(f"The generator's config is incomplete: {error}.") from error


@dataclass(frozen=True)
class PublishedConfig(GeneratorConfig):
    """A generator in the published format: `rank` is q, `scaling` is c = alpha / r_v."""

    rank: int = 128
    scaling: float = 0.0625
