"""The public recordings that tasks name. Both files are repackaged and have no address of their own."""

from __future__ import annotations

from seqkit import Dataset, File

FSDD = Dataset(
    "speech/fsdd",
    (File("recordings.zip", None, "8e1e44a06ea9d154aa314276028b6851cdf0bead7ad196db67b9aadb78191e05", 16_161_380),),
    licence="CC BY-SA 4.0",
    about="Free Spoken Digit Dataset (Z. Jackson et al.): 3,000 clips of ten digits by six speakers, 8 kHz",
    by_hand="the same 3,000 files are in the folder `recordings` of github.com/Jakobovski/free-spoken-digit-dataset at "
    "commit 26eb9aaf76e81b692f806f9140c2d2777410d7a1; give that folder, or a zip of it, as path",
)
FSDD_PATTERN = r"(?P<label>[0-9])_(?P<speaker>[a-z]+)_(?P<index>[0-9]+)\.wav"

SPEECH_COMMANDS_3 = Dataset(
    "speech/speech_commands_v1_3words",
    (
        File(
            "speech_commands_v1_3words.zip",
            None,
            "f5f2b2a3ebf8d7f1b9fbe87da8d2c273dddc6afc0a94132fbd22bf2945a9fab6",
            16_619_694,
        ),
    ),
    licence="CC BY 4.0",
    about="Google Speech Commands v0.01 (P. Warden, arXiv:1804.03209), the words bed, cat and happy: the first 150 "
    "training, 40 validation and 60 testing clips of each word, 16 kHz",
    by_hand="all clips of these words are in the folder `data` of github.com/manashmandal/DeadSimpleSpeechRecognizer "
    "at commit 881b36a63bc9d449f60bc83ebcd2e7c5209a4761; give that folder as path, with split_by: hash (it has more "
    "clips than this subset, in the same splits)",
)
