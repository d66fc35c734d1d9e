"""The recipes that come with seqkit, one YAML file each."""
