"""The training loop, its state, validation, and what happens when a number is not finite."""
