"""Training: losses, stages and checkpoints."""
