"""Sweeps: many trainings of one recipe with other options, chosen by Optuna. Needs the extra `sweep`."""
