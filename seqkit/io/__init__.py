"""Files and network: atomic writes, the cache folder, downloads, and keeping secrets out of logs."""
