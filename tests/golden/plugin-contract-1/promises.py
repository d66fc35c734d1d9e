"""What its author tested."""

from seqkit.testing import EncoderConformance, HeadConformance, TaskConformance


class TestParity(TaskConformance):
    task = "golden-parity"


class TestText(TaskConformance):
    task = "golden-text"
    options = {"lines": 8}
    encoders = ({"use": "golden-gru", "hidden": 8},)


class TestPick(HeadConformance):
    task = "golden-parity"
    options = {"own_field": False, "windows_of": 5}
    head = {"use": "golden-pick", "pool": "mean", "temperature": 2.0}


class TestGRU(EncoderConformance):
    encoder = "golden-gru"
    options = {"hidden": 6}
