"""Latency that allows a conclusion: artefacts timed in turn in their own processes, ratios with intervals, gates."""
