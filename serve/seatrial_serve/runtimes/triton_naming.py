"""The names of a bundle's models in Triton, and the whole numbers of their versions."""

from __future__ import annotations

from seatrial_contracts.errors import DeclarationError

MOST_PART = 999


def front_name(name: str) -> str:
    """The contract and the host stage."""
    return f"{name}_front"


def graph_name(name: str) -> str:
    """The graph alone: it takes what the front makes."""
    return f"{name}_graph"


def digest_key(number: int) -> str:
    """The parameter of a configuration that names the bundle of a version by its digest."""
    return f"seatrial_digest.{number}"


def triton_version(version: str) -> int:
    """Return the whole number of a version: `1.2.3` -> 1002003.

    Triton's versions are whole numbers above 0, and these keep the versions' order. Raises
    `DeclarationError`.
    """
    major, minor, patch = map(int, version.split("."))
    number = major * (MOST_PART + 1) ** 2 + minor * (MOST_PART + 1) + patch
    if max(minor, patch) > MOST_PART or not number:
        raise DeclarationError(
            "version for Triton",
            version,
            f"one above 0.0.0 whose last two numbers are at most {MOST_PART}",
        )
    return number
