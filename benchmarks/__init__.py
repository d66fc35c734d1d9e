"""seqkit measured beside other toolkits: `python -m benchmarks [GROUP...] [--quick] [--json FILE]`.

Every contender runs in a process of its own. Their rounds are interleaved in alternating order (A B C, C B A), on the same
batches; what they compute is compared before anything is timed, and a contender that computes something else is not
timed. Medians are given with the smallest and the largest round. `docs/benchmarks.md` is made from the JSON.
"""
