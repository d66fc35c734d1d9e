"""`python -m seqkit` is the same program as `seqkit`, and cannot be shadowed by another program of that name."""

from seqkit.cli import main

if __name__ == "__main__":
    main(prog_name="seqkit")
