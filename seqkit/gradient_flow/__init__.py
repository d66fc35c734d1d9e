"""How far back in time gradients of the loss reach, what the gates hold, and what to advise (docs/memory.md)."""
