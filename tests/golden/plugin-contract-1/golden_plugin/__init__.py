"""A plugin as seqkit 0.1 described them: two tasks, a field, an encoder and a head."""
