"""A run folder: its files, lock, checkpoints, logs and TensorBoard, and its comparison with another run."""
