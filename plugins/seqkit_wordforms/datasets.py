"""The files of SIGMORPHON 2020: pronunciations in 15 languages (task 1) and inflections in three (task 0)."""

from __future__ import annotations

from typing import Final

from seqkit import Dataset, File

G2P_LANGUAGES: Final = (
    *("ady", "arm", "bul", "dut", "fre", "geo", "gre", "hin", "hun", "ice", "jpn", "kor", "lit", "rum", "vie"),
)
"""Adyghe, Armenian, Bulgarian, Dutch, French, Georgian, Greek, Hindi, Hungarian, Icelandic, Japanese (hiragana),
Korean, Lithuanian, Romanian, Vietnamese."""
INFLECTION_LANGUAGES: Final = ("ang", "est", "tgl")
"""Old English, Estonian, Tagalog."""

_G2P_FILES = (
    ("train/ady_train.tsv.gz", 30_329, "56ebe34cafce8135bad98b3b628d612255ce72adf604558bc9a13bc2014a0717"),
    ("train/arm_train.tsv.gz", 32_173, "307eb86d839d22b35a5b6b0181fdc7496cd4a28356444248a0462ef7495d32b5"),
    ("train/bul_train.tsv.gz", 28_573, "d2d6e5d81a46b103a9787e1f9d58630383ccd3686d0e57faad7c7da35bf23242"),
    ("train/dut_train.tsv.gz", 36_185, "2fcc2355ee1eb183d2e76092bca3561ee72098eb7a5d143e23b767bfa555cf72"),
    ("train/fre_train.tsv.gz", 26_439, "87fd3c75697eaa906d18f82af68399e2b83050530bd253e7aa3dd718994aaabf"),
    ("train/geo_train.tsv.gz", 35_021, "5a46314dda98b882f6ecd92124e27a2154088e58d8de63d749abe9b10f06888c"),
    ("train/gre_train.tsv.gz", 32_724, "6712f3d8e462c5a24cb74cc0e846f07e0c1d152334d1fe912f3aae82812cc460"),
    ("train/hin_train.tsv.gz", 32_636, "1eb029ef3fc7a840fb3421952f21b1f4771b1f3e61ea5943f1627bcb7084d9dd"),
    ("train/hun_train.tsv.gz", 29_822, "bd256806631cfe27b0cd4688e4fdaabe2faaaccf08eaa9a12e70d43222296205"),
    ("train/ice_train.tsv.gz", 28_592, "7004864e21010463fef54d4232f28fb6dda75bc1ee0254b2065515be517a7d12"),
    ("train/jpn_train.tsv.gz", 32_400, "17dbbd86a72f75ff7fc233db849375bd923ff38d46f0bf7c958fc4081ec2d0bf"),
    ("train/kor_train.tsv.gz", 31_754, "87d2c004c0b50522ccb19d10ad0e617734df2c0418fca122bd911cefeb73db77"),
    ("train/lit_train.tsv.gz", 27_495, "dd860b06ee2aadc78a5bb1097fb105de2200cd5b91ca72c16fdfc52f77f58078"),
    ("train/rum_train.tsv.gz", 25_131, "d8c69ed080e924160f28d69eefedde3744eb07f1806676e44f9bf0a8fefc1f5a"),
    ("train/vie_train.tsv.gz", 36_630, "010fecd2562217648fe1a8cccaeba73b1ac2548ccd05ed9ef46fa0c64f62a410"),
    ("dev/ady_dev.tsv.gz", 4_777, "423bcc950196e8c4722383bdc75f662873cfc50a0ea90c6e5b393420d6ccbb1d"),
    ("dev/arm_dev.tsv.gz", 5_197, "f1f0054bf3a06ea3ca690f4bc550771a96dcc44b9602c233d6032c48321b66ef"),
    ("dev/bul_dev.tsv.gz", 4_291, "4e13fc325ac778b6f932c77356734b0f4f147370fa89409357c6e91fe86d5844"),
    ("dev/dut_dev.tsv.gz", 5_352, "dca1b61fddaf76554dc01f1130a1a222c63813a230faff16f016b5df018ed8f5"),
    ("dev/fre_dev.tsv.gz", 4_158, "40e7526b0b710346df2b7ed5a9f9e146d1c5d3203894e5ae509967406419244c"),
    ("dev/geo_dev.tsv.gz", 5_439, "ec3acb13fe5811cfaa18edac53acc90ec874ecc4f9ab6b61efc6063299b9211a"),
    ("dev/gre_dev.tsv.gz", 5_374, "9cf7ce01a319720c3de5560bc770355ea1eb55af2161e79f1592e25634e3ecf8"),
    ("dev/hin_dev.tsv.gz", 5_206, "c3402a66d1468f2a8e319f64ca6ac890f0f533e430763e58724350fa0bcbdcff"),
    ("dev/hun_dev.tsv.gz", 4_857, "65323f952305ddbbdd5398f961acdbd5fc234c34d177a34521b890279c650488"),
    ("dev/ice_dev.tsv.gz", 4_385, "407b79eb21500eade45db8def8bf88a60e5f41e13a3448c95700e809555522ad"),
    ("dev/jpn_dev.tsv.gz", 5_045, "7eacf009a152e16a30d6f86fb52a33f98baf1a08e6077f764ad05aa56a9cd566"),
    ("dev/kor_dev.tsv.gz", 4_915, "1b56716128fdccb5d0cbc9e476db68cdc117b114153735df50a5b057818c1b57"),
    ("dev/lit_dev.tsv.gz", 4_813, "b356c51fad1b183ed1817d3a9e07ba6a9f487de31dbc214402368e66253dfcbe"),
    ("dev/rum_dev.tsv.gz", 3_809, "906d851d6344cf48b67f2fac01044b0b40a623f5ed9d9c710fc5e50fcdebd032"),
    ("dev/vie_dev.tsv.gz", 5_864, "ea44b92ff2a1a4b66e97859fd961f90771cb9f11a1a5954b09956b3d89fba307"),
    ("test/ady_test.tsv.gz", 4_847, "0698926e2c235a796fb76984e2772e5335f062d7a4c3c7d6d529dde7cfc4ddeb"),
    ("test/arm_test.tsv.gz", 5_437, "f8d2b1cd13de5189e27e713ae50e8f0ff886931aa362182ea72be0d8a58b9bcd"),
    ("test/bul_test.tsv.gz", 4_376, "67b298d670cfc0a131683449bd43639cc6a5a7d97db341d9c0ce6436a8a1e61e"),
    ("test/dut_test.tsv.gz", 5_311, "c4c32bc46268d007f34ca87af5e48b5b43d8e2abeef05ced6cfb93d32781c2c1"),
    ("test/fre_test.tsv.gz", 4_388, "8a83ca0b0fde367d75fe2ab0a17344a30de0a424464106a8da10956bbb5fe7d5"),
    ("test/geo_test.tsv.gz", 5_872, "0d5207c7b27ba6ee7ca281b8f48f7fa2ec1b86a0a61e1b4473fb1592a6fe3785"),
    ("test/gre_test.tsv.gz", 5_542, "86286c322c87ccbd334512b560359733d41831a5231fe58bbaf42bb7bfacd61e"),
    ("test/hin_test.tsv.gz", 5_445, "f69e158e853ad2fb437b8df37dd8a99ad45acad4a19ac3a723b5dd8a5c0374dc"),
    ("test/hun_test.tsv.gz", 5_039, "bc7b83cd279e80ddb31c5176809ad7d94588cc89aa1e07487c733ebccf3ca63d"),
    ("test/ice_test.tsv.gz", 4_573, "cf1bd93d55e1747f06e408a4a359df0e4307d41193ca05adb3493bd65013bba1"),
    ("test/jpn_test.tsv.gz", 4_944, "24a34588d811a7e4adb604551fca1f8369b329b8c80da6ec9ddbe0bc2f8209ce"),
    ("test/kor_test.tsv.gz", 5_330, "4ae1e34b11033665db883aa042f6b1d2f3d1f358c969fb4ef456d110bd2ff71c"),
    ("test/lit_test.tsv.gz", 5_027, "02cdbc84f80b4a12a2b20b4babe2ebfb3e076d6c32e8b56681ac5a7b3e32a409"),
    ("test/rum_test.tsv.gz", 3_861, "27b8dc5b1fa812e72e030a08a9de1acebfd05dbeb5fdc0a0b1ccfafeb3a0b87a"),
    ("test/vie_test.tsv.gz", 5_831, "b9d2387eefb4e998637faa66d550c11d8ba377cda4192e763612d072c1c4201c"),
)
_INFLECTION_FILES = (
    ("ang.trn.gz", 214_415, "654f0f2a2a6d812d680b36c5ecd310f67686acbc56150592c46ca40c01602160"),
    ("ang.dev.gz", 31_612, "f66f5c30fe6fac3e75543f759134f5b1d06e41c787281c01582237bff057547b"),
    ("ang.tst.gz", 60_672, "6ac20db6a1ff56d7918de116a7bf1b5688c8a7c5651c32d7973fffeab550406b"),
    ("est.trn.gz", 203_273, "67d4cb8acd2623fe13b1519072ce1da4024ce92387e3253ecd5863bd4fa281db"),
    ("est.dev.gz", 30_046, "74b55f684949210afc25bf9b55f6f8038db26566960d928d0e5d844f912f8836"),
    ("est.tst.gz", 58_516, "6896fdc18d561dc40131181c9592e5d20e68e02501a8fbc577b4298e17cc7a23"),
    ("tgl.trn.gz", 13_951, "b748426a42a83892cec9f44c60302b19208054435189d4249677e405f3d6f9db"),
    ("tgl.dev.gz", 2_124, "519cf7a13e891c8084a39d678033de1116d8a3a6e52cb53493dbc4f72cafddd2"),
    ("tgl.tst.gz", 4_032, "0f5a3b315154a7f460a6049017203dab20ca44ce1274caeb2eb9bb7a1c477c49"),
)

G2P = Dataset(
    "g2p/sigmorphon2020",
    tuple(File(name, None, sha256, size) for name, size, sha256 in _G2P_FILES),
    licence="not stated (the text is Wiktionary's)",
    about="SIGMORPHON 2020, task 1 (Gorman et al. 2020): words and their phones, from WikiPron",
    by_hand="task1/data of github.com/sigmorphon/2020, each compressed with gzip -n; they also work unpacked (folder)",
)
INFLECTION = Dataset(
    "inflection/sigmorphon2020",
    tuple(File(name, None, sha256, size) for name, size, sha256 in _INFLECTION_FILES),
    licence="not stated (the text is Wiktionary's)",
    about="SIGMORPHON 2020, task 0 (Vylomova et al. 2020): lemmas, features and forms, from UniMorph",
    by_hand="the files of github.com/sigmorphon2020/task0-data, compressed with gzip -n; they also work unpacked",
)
