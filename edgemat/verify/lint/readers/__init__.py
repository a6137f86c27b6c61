"""Readers of artefacts: what each format says, as `edgemat.verify.lint.facts.Facts`."""
