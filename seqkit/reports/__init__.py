"""What runs have come to: the table of runs, comparisons of models, and the report of a run as one HTML page."""
