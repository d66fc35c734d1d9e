"""Every split of a task as flat memory-mapped arrays, encoded once and kept under a key made of their content.

    <cache>/store/<key>/                one folder a task, its options, its data and its fitted fields
        train.x.bin, train.x.offsets    all steps of all examples in a row; where each example starts
        train.y.bin, train.y.offsets    the targets (no offsets where every example has one row)
        train.ids.bin, ...offsets       where a human finds each example, UTF-8
        train.origin.bin                the number of the example that a row was cut from
        MANIFEST.json                   types, shapes, sizes, checksums, reports, fitted fields; written last

Of a split of several files, `<cache>/shards` has an entry for each (`seqkit.data.store.shard_entries`).

A folder appears whole, by one rename. One that is damaged is made again. Memory does not grow with the data, apart
from vocabularies. Where there is much to encode, several processes do it (`seqkit.data.store.parallel_encode`).
"""

from seqkit.data.store.columns import Column, Ids, SelectedIds, Split
from seqkit.data.store.encode import encode_value
from seqkit.data.store.memory_split import encoded_split, memory_split
from seqkit.data.store.preparation import Identity, PreparationError, Prepared, identify, prepare
from seqkit.data.store.report import SplitReport, select_steps
from seqkit.data.store.shard_rows import block

__all__ = [
    "Column",
    "Identity",
    "Ids",
    "PreparationError",
    "Prepared",
    "SelectedIds",
    "Split",
    "SplitReport",
    "block",
    "encode_value",
    "encoded_split",
    "identify",
    "memory_split",
    "prepare",
    "select_steps",
]
