"""The student network, its normalisation and its weights."""
