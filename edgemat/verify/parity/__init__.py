"""Parity: every artefact of an export is what was trained, or it is told where not, and what its precision costs."""
