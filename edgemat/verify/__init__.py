"""Proof: compare artefacts with their reference, score them on ground truth, time them."""
