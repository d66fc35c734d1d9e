"""seqkit measured beside other toolkits: `python -m benchmarks [GROUP...] [--quick] [--json FILE]`.

Every contender runs in a process of its own. Rounds are interleaved in alternating order (A B C, C B A), on the same
batches. Outputs are compared before anything is timed, and a contender whose outputs differ is not timed. Medians are
given with the smallest and the largest round. `python -m benchmarks.page` makes `docs/benchmarks.md` from the JSON.
"""
