"""Runs that are killed, starved and interrupted on purpose. `python -m tests.faults --help` says what can be done."""
