"""From stored splits to batches: encoding and caching, the order of an epoch, padding, streams."""
