"""A model's networks as ONNX files, checked against torch."""

from pyrovae.export.networks import DecoderNetwork, EncoderNetwork, Network
from pyrovae.export.onnx_files import TOLERANCE, Exported, MissingLibrary, export_networks, run_onnx

__all__ = [
    "TOLERANCE",
    "DecoderNetwork",
    "EncoderNetwork",
    "Exported",
    "MissingLibrary",
    "Network",
    "export_networks",
    "run_onnx",
]
