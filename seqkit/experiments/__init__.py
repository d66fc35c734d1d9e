"""Carrying out a recipe: run it, reproduce it over several seeds, or plan its batches."""
