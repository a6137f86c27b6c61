"""Quantization to the integer grid that every target shares."""

if not __name__.startswith("edgemat."):
    raise ImportError(f"import edgemat.quantize, not {__name__}: the folder is installed under the edgemat name")
