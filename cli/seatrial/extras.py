"""Which extra brings a package that is not installed."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec

EXTRAS = {
    "export": ("torch", "onnx", "onnxscript", "onnxruntime", "ml_dtypes"),
    "hub": ("transformers", "sentence_transformers", "safetensors"),
    "adopt": ("onnx", "onnxruntime", "skl2onnx", "sklearn", "pandas"),
    "serve": (
        "onnxruntime",
        "fastapi",
        "fastapi_offline",
        "starlette",
        "uvicorn",
        "httptools",
        "uvloop",
        "orjson",
        "prometheus_client",
        "pydantic_settings",
        "grpc",
        "grpc_health",
        "watchfiles",
        "pythonjsonlogger",
        "cryptography",
        "tomlkit",
    ),
    "client": ("httpx", "orjson"),
    "parity": ("httpx", "hypothesis", "jinja2", "pytest", "tritonclient", "onnxruntime", "orjson"),
    "text": ("tokenizers",),
    "image": ("PIL",),
    "audio": ("soundfile", "soxr"),
    "plot": ("matplotlib",),
}
"""Extra -> the modules that it brings, as they are imported."""
PACKAGES = {
    "seatrial_export.adopt": "adopt",
    "seatrial_export.hub": "hub",
    "seatrial_export": "export",
    "seatrial_serve": "serve",
    "seatrial_parity": "parity",
    "seatrial_client": "client",
}
"""Where an import began -> the extra that it needs first; the longest name that fits counts."""


def extra_of(error: ModuleNotFoundError, home: str) -> str | None:
    """The extra that brings the missing module.

    None where no extra brings it: then the installation or seatrial is at fault. `home` is the
    module whose import failed. Where several extras bring a module, the one that `home` needs is
    named.
    """
    module = (error.name or "").partition(".")[0]
    extras = [extra for extra, modules in EXTRAS.items() if module in modules]
    wanted = needed_by(home)
    return wanted if wanted in extras else next(iter(extras), None)


def needed_by(home: str) -> str | None:
    """The extra that a module of ours needs first; None where it needs none."""
    return next(
        (
            extra
            for prefix, extra in PACKAGES.items()
            if home == prefix or home.startswith(f"{prefix}.")
        ),
        None,
    )


@cache
def is_installed(extra: str | None) -> bool:
    """Is every module of an extra there? Nothing is imported."""
    return extra is None or all(find_spec(module) is not None for module in EXTRAS[extra])
