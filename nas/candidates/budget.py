"""Budget: the gate that every candidate passes before a single image is loaded for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nas.candidates.device import device_bytes, least_flash
from nas.errors import OverBudgetError

if TYPE_CHECKING:  # the command line reads budgets without loading torch
    from nas.candidates.architecture import Architecture

LARGEST_BUDGET = 10**9
LARGEST_LIMIT = 10**15
UNITS = {
    "num_params": "parameters",
    "num_macs": "multiply-accumulates",
    "weight_bytes": "bytes of weights",
    "activation_bytes": "bytes of activations",
    "flash_bytes": "bytes of flash",
    "ram_bytes": "bytes of RAM",
}


@dataclass(frozen=True)
class Limits:
    """The most that a network may cost beside its parameters; None is no limit."""

    max_macs: int | None = None
    """Multiply-accumulates to classify one image."""
    max_weight_bytes: int | None = None
    """Of all parameters, each stored in `bits`."""
    max_activation_bytes: int | None = None
    """Of the values that are held at once for one image, each in `bits`, when that is most."""
    bits: int = 32
    max_flash: int | None = None
    """Bytes that the int8 C code of the network takes, as `nas.candidates.device` says."""
    max_ram: int | None = None
    """Bytes of its one buffer and of its stack."""
    names_bytes: int | None = None
    """Of the class names, which lie in flash; None for what is usual."""


NO_LIMITS = Limits()


@dataclass(frozen=True)
class Budget:
    """Hard limits: a network fits when it has fewer than `max_params` parameters, and costs no
    more than `limits` allow."""

    max_params: int
    limits: Limits = NO_LIMITS

    @property
    def is_flash_alone(self) -> bool:
        """No number of parameters was given: the limit of flash stands for one, as each parameter
        takes a byte or more."""
        return self.max_params == self.limits.max_flash

    @property
    def text(self) -> str:
        """What the search was given: `20,000`, or `16,384 bytes of flash`."""
        return f"{self.max_params:,}" + self.is_flash_alone * " bytes of flash"

    def room(self, num_params: int) -> str:
        """How a network keeps within, for example `10 fewer than the budget of 5,000`."""
        if self.is_flash_alone:
            return f"within {self.text} as int8 C"
        return f"{self.max_params - num_params:,} fewer than the budget of {self.text}"

    @property
    def most_params(self) -> int:
        """The largest number of parameters that fits: the budget and the bytes allow it."""
        most = self.max_params - 1
        if self.limits.max_weight_bytes is not None:
            most = min(most, self.limits.max_weight_bytes * 8 // self.limits.bits)
        if self.limits.max_flash is not None:  # a parameter takes a byte or more
            most = max(min(most, self.limits.max_flash - least_flash()), 0)
        return most

    def fits(self, architecture: Architecture) -> bool:
        return all(cost <= most for cost, most in self._costs(architecture).values())

    def check(self, architecture: Architecture) -> None:
        """Raises OverBudgetError when the network costs more than it may."""
        for name, (cost, most) in self._costs(architecture).items():
            if cost > most:
                allowed = self._allowed(name, most)
                raise OverBudgetError(UNITS[name], cost, allowed, architecture.num_params)

    def excess(self, architecture: Architecture) -> dict[str, float]:
        """How far each cost is over its limit, as a share of it; <= 0 exactly when it fits."""
        return {
            name: (cost - most) / max(most, 1)
            for name, (cost, most) in self._costs(architecture).items()
        }

    def summary(self) -> str:
        """In words, for example `fewer than 20,000 parameters, at most 65,536 bytes of weights`."""
        limits = self.limits
        most = {
            "num_params": None if self.is_flash_alone else self.max_params - 1,
            "num_macs": limits.max_macs,
            "weight_bytes": limits.max_weight_bytes,
            "activation_bytes": limits.max_activation_bytes,
            "flash_bytes": limits.max_flash,
            "ram_bytes": limits.max_ram,
        }
        parts = [f"{self._allowed(n, m)} {UNITS[n]}" for n, m in most.items() if m is not None]
        if limits.max_weight_bytes is not None or limits.max_activation_bytes is not None:
            parts.append(f"{limits.bits} bits a value")
        return ", ".join(parts)

    def _allowed(self, name: str, most: int) -> str:
        return f"fewer than {most + 1:,}" if name == "num_params" else f"at most {most:,}"

    def _costs(self, architecture: Architecture) -> dict[str, tuple[int, int]]:
        """What is limited: what the network costs, and the most that it may."""
        limits = self.limits
        costs = {"num_params": (architecture.num_params, self.max_params - 1)}
        if limits.max_macs is not None:
            costs["num_macs"] = (architecture.num_macs, limits.max_macs)
        if limits.max_weight_bytes is not None:
            num_bytes = to_bytes(architecture.num_params, limits.bits)
            costs["weight_bytes"] = (num_bytes, limits.max_weight_bytes)
        if limits.max_activation_bytes is not None:
            num_bytes = to_bytes(architecture.peak_values, limits.bits)
            costs["activation_bytes"] = (num_bytes, limits.max_activation_bytes)
        if limits.max_flash is not None or limits.max_ram is not None:
            device = device_bytes(architecture, limits.names_bytes)
            if limits.max_flash is not None:
                costs["flash_bytes"] = (device.flash, limits.max_flash)
            if limits.max_ram is not None:
                costs["ram_bytes"] = (device.ram, limits.max_ram)
        return costs


def to_bytes(num_values: int, bits: int) -> int:
    """The bytes that so many values of `bits` each take, packed."""
    return -(-num_values * bits // 8)
