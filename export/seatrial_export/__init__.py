"""The export wing of seatrial: it knows the training world, and seals what passes its gate."""

from seatrial_export.load_pipeline import load_pipeline
from seatrial_export.pipeline import Pipeline
from seatrial_export.seal import export_pipeline

__all__ = ["Pipeline", "export_pipeline", "load_pipeline"]
