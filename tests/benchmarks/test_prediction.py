"""The group `prediction`: what is derived from the memory of its commands."""

from __future__ import annotations

from benchmarks.groups import prediction


def test_growth_of_memory_is_told_once_both_sizes_are_measured() -> None:
    cases = [
        {
            "name": f"tagging, {count:,} sentences",
            "options": {"kind": "tagging", "sentences": count},
            "results": {"seqkit": {"notes": {"peak": peak}}, "spaCy": {"notes": {"peak": 900}}, "Flair": {"notes": {}}},
        }
        for count, peak in ((prediction.FEW, 400), (prediction.MANY, 420))
    ]
    assert prediction.GROWTH not in prediction.derive(cases[:1])
    figures = prediction.derive(cases)
    assert figures[prediction.GROWTH] == 1.05
    assert figures["tagging, 100,000 sentences: peak memory of spaCy, MiB"] == 900
