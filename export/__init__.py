"""One public module or package here is one export target."""

if not __name__.startswith("edgemat."):
    raise ImportError(f"import edgemat.export, not {__name__}: the folder is installed under the edgemat name")
