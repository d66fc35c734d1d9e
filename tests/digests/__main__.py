"""Compare the digests of short runs with the recorded ones, or record them."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from tests import digests


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.digests", description=__doc__)
    parser.add_argument("recipes", nargs="*", default=digests.RECIPES, help="only these recipes")
    parser.add_argument("--record", action="store_true", help="write recorded.json anew for this machine")
    arguments = parser.parse_args()
    content = digests.recorded() if digests.RECORDED.exists() else {"digests": {}, "numbers": {}}
    known = content["digests"].setdefault(digests.machine(), {})
    unequal = 0
    with tempfile.TemporaryDirectory() as scratch:
        for recipe in arguments.recipes:
            result = digests.run(recipe, Path(scratch) / recipe)
            if arguments.record:
                known[recipe] = result["sha256"]
                content["numbers"][recipe] = result["numbers"]
                verdict = "recorded"
            elif recipe not in known:
                verdict = "not recorded for this machine"
            else:
                verdict = "equal" if known[recipe] == result["sha256"] else f"UNEQUAL to {known[recipe][:12]}"
                unequal += known[recipe] != result["sha256"]
            print(f"{recipe:12} {result['sha256'][:12]}  {verdict}", flush=True)
    if arguments.record:
        digests.RECORDED.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
    return int(unequal > 0)


if __name__ == "__main__":
    sys.exit(main())
