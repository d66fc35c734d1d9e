"""Input layers: from the numbers that a field encodes to the vectors that an encoder reads."""
