"""`python -m tests.gpu.emulation.command ...`: seqkit's command line in a process that sees the emulated GPU."""

from __future__ import annotations

import sys

from tests.gpu.emulation.device import emulated_gpu

if __name__ == "__main__":
    from seqkit.cli import main

    with emulated_gpu():
        sys.exit(main(sys.argv[1:], prog_name="seqkit"))
