"""The groups: each module has one `GROUP`, and the functions that prepare its contenders."""
