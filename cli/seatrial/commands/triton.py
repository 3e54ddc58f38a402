"""`seatrial triton`: bundles as a model repository for NVIDIA Triton."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

if TYPE_CHECKING:
    from seatrial_contracts.contract import Contract


@click.command("triton")
@click.argument(
    "paths", metavar="BUNDLE...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("repo"),
    show_default=True,
    help="Folder of the repository; models that are there already are not overwritten.",
)
@click.option(
    "--backend",
    type=click.Choice(["onnxruntime", "python"]),
    default="onnxruntime",
    show_default=True,
    help="onnxruntime: the graph on Triton's own backend, in an ensemble behind our front. "
    "python: the whole bundle in one model, several versions too.",
)
@click.option(
    "--device",
    type=click.Choice(["cpu", "gpu"]),
    default="cpu",
    show_default=True,
    help="Where the graph runs.",
)
@click.option(
    "--instances",
    type=click.IntRange(1, 1024),
    default=1,
    show_default=True,
    help="How many of each model run at once.",
)
@click.option(
    "--accelerator",
    type=click.Choice(["cuda", "tensorrt"]),
    help="CUDA's provider, or TensorRT before it; with --device gpu and onnxruntime alone. "
    "[default: cuda]",
)
@click.option(
    "--max-wait-s",
    type=click.FloatRange(0, 10),
    default=0.0,
    show_default=True,
    help="How long a request may wait for company; 0 batches what queued while the model was busy.",
)
@click.option(
    "--triton-version",
    metavar="YY.MM",
    help="The release of Triton that is to run it, such as 26.07: a graph that its onnxruntime "
    "does not open is refused.",
)
def command(
    paths: tuple[Path, ...],
    out: Path,
    accelerator: Literal["cuda", "tensorrt"] | None,
    triton_version: str | None,
    **placing: Any,
) -> None:
    """Write a Triton model repository from sealed bundles.

    Each bundle passes its load gate here first: the batch size that pays is measured. Raw input
    (words, sentences, files) works in Triton as it does here, and the contract refuses bad input
    there with the same codes. Triton's Python environment needs seatrial and what the bundle's
    fields need: pip install '.[serve,text,image,audio]'. Triton answers the graph's tensors:
    what `seatrial serve` makes of them for clients, and request options, stay with it.

    \b
      seatrial triton bundles/churn/1.0.0 --out triton
    """  # noqa: D301  (click's mark)
    from seatrial_contracts.bundle import open_plain_bundle
    from seatrial_contracts.errors import DeclarationError, MissingExtra

    if accelerator and (placing["device"] != "gpu" or placing["backend"] != "onnxruntime"):
        raise DeclarationError(
            "--accelerator", "the CPU or the Python backend", "--device gpu --backend onnxruntime"
        )
    if triton_version and placing["backend"] == "python":
        got, want = "--backend python", "--backend onnxruntime"
        mend = "the Python backend opens graphs by the onnxruntime of its own environment"
        raise DeclarationError("--triton-version", got, want, mend)
    try:
        from seatrial_serve.triton.config import Placing
        from seatrial_serve.triton.releases import check_release, readers
        from seatrial_serve.triton.repository import write_repository
    except ImportError as error:
        raise MissingExtra("seatrial triton", "triton") from error
    bundles = [open_plain_bundle(path, "a Triton model repository") for path in paths]
    if triton_version:
        for bundle in bundles:
            check_release(bundle, triton_version)
    written = write_repository(bundles, out, Placing(accelerator=accelerator or "cuda", **placing))
    click.echo(f"wrote {', '.join(written)} to {out}")
    for bundle in bundles:
        if placing["backend"] == "onnxruntime":
            click.echo(f"{bundle.name}: {readers(bundle)}")
        for line in said_otherwise(bundle.contract):
            click.echo(f"{bundle.name}: {line}")
    click.echo(f"next: tritonserver --model-repository={out} --disable-auto-complete-config")


def said_otherwise(contract: Contract) -> Iterator[str]:
    """What clients of Triton see otherwise than those of `seatrial serve`, a line each."""
    for output in contract.mapped:
        if output.tensors:
            names = ", ".join(output.tensors)
            yield f"output '{output.name}' comes as the graph's tensors: {names}"
        else:
            yield f"output '{output.name}' is left out, as no tensor of the graph holds it"
    for name, made in contract.graph_answers.items():
        if name != made:
            yield f"output '{name}' is called '{made}'"
    narrow = [raw.name for raw in contract.raw_tensors.values() if raw.datatype == "BF16"]
    narrow += [tensor.name for tensor in contract.answer_tensors if tensor.datatype == "BF16"]
    if narrow:
        yield f"bfloat16 comes and goes as FP32: {', '.join(narrow)}"
    if contract.known_options:
        yield f"request options have no effect: {', '.join(contract.known_options)}"
