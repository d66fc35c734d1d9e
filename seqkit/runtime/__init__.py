"""What a run runs on: device, precision, determinism, memory, random state, and the C++ library."""
