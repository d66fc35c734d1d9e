"""A real server over real sockets: its answers are those of `predict`, whoever else asks at the same time."""

from __future__ import annotations

import base64
import concurrent.futures
import json
import random
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.sync.client import connect

import seqkit
from seqkit.cli.serve import names_of
from tests.serving.conftest import RunningServer, start, stop

WORDS = [
    *("a", "the", "film", "plot", "Angela", "Merkel", "Paris", "was", "never", "truly", "wonderful", "boring"),
    *("in", "on", "Monday", "and", "or", "Acme", "Corp"),
]


def sentences(count: int, seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randint(1, 30))) for _ in range(count)]


def post(server: RunningServer, path: str, body: Any) -> httpx.Response:
    return httpx.post(server.url + path, json=body, timeout=60)


def predict(server: RunningServer, model: str, inputs: list[Any], **options: Any) -> list[dict[str, Any]]:
    answer = post(server, "/predict", {"model": model, "inputs": inputs, **options})
    assert answer.status_code == 200, answer.text
    results: list[dict[str, Any]] = answer.json()["results"]
    return results


@pytest.mark.parametrize("model", ["sentiment", "ner"])
def test_answers_are_those_of_predict(model: str, server: RunningServer) -> None:
    inputs = [*sentences(20), ["split", "already", "😀"]]
    expected = list(seqkit.load(server.folders[model]).predict(inputs))
    for record, result in zip(predict(server, model, inputs), expected, strict=True):
        assert record["prediction"] == result.value
        assert record["confidence"] == pytest.approx(result.confidence, abs=1e-6)
        assert record.get("spans", []) == [
            {key: pytest.approx(value, abs=1e-6) if key == "confidence" else value for key, value in span.items()}
            for span in result.spans
        ]


def test_labels_come_with_their_probabilities(server: RunningServer) -> None:
    (record,) = predict(server, "sentiment", ["a wonderful film"])
    assert list(record["probabilities"].values()) == sorted(record["probabilities"].values(), reverse=True)
    assert sum(record["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    (best,) = predict(server, "sentiment", ["a wonderful film"], top=1)
    assert list(best["probabilities"]) == [best["prediction"]]


def test_an_input_that_cannot_be_used_has_an_error_and_the_others_an_answer(server: RunningServer) -> None:
    inputs = ["good", 3, None, {"file": "x.exe", "content": ""}, {"file": "x.tsv", "content": "no base64!"}, "bad"]
    records = predict(server, "sentiment", inputs)
    assert ["error" in record for record in records] == [False, True, True, True, True, False]
    assert "should end in one of" in records[3]["error"]
    assert "base64" in records[4]["error"]


def test_a_recording_is_sent_in_base64_and_a_path_is_not_opened(server: RunningServer, tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile", reason="the extra 'speech' is not installed")
    samples = [random.Random(1).gauss(0, 0.1) for _ in range(8000)]
    path = tmp_path / "word.wav"
    soundfile.write(path, samples, 8000)
    (expected,) = seqkit.load(server.folders["speech"]).predict([path])
    upload = {"file": "../../word.WAV", "content": base64.b64encode(path.read_bytes()).decode()}
    damaged = {"file": "a.wav", "content": base64.b64encode(b"RIFF....").decode()}
    good, by_path, broken = predict(server, "speech", [upload, str(path), damaged])
    assert good["prediction"] == expected.value
    assert good["confidence"] == pytest.approx(expected.confidence, abs=1e-6)
    assert "does not read text" in by_path["error"]
    assert broken["error"]


def test_text_is_generated(server: RunningServer) -> None:
    body = {"model": "charlm", "prompt": "The ", "length": 20, "seed": 3, "count": 2}
    answer = post(server, "/generate", body)
    assert answer.status_code == 200, answer.text
    options = {"length": 20, "seed": 3, "count": 2, "temperature": 0.8}
    assert answer.json()["texts"] == seqkit.load(server.folders["charlm"]).generate("The ", **options)
    assert post(server, "/generate", body | {"model": "ner"}).status_code == 400
    assert "does not write" in post(server, "/generate", body | {"model": "ner"}).json()["error"]
    assert post(server, "/generate", body | {"length": 10**6}).status_code == 413


@pytest.mark.parametrize("model", ["sentiment", "charlm"])
def test_a_stream_answers_each_piece_and_goes_on_from_a_saved_state(model: str, server: RunningServer) -> None:
    text: Any = "a wonderful film but boring"
    (whole,) = predict(server, model, [text])
    text = text.split() if model == "sentiment" else text
    with connect(f"ws://127.0.0.1:{server.port}/stream?model={model}") as socket:

        def ask(message: Any, socket: Any = socket) -> dict[str, Any]:
            socket.send(json.dumps(message))
            answer: dict[str, Any] = json.loads(socket.recv())
            return answer

        assert ask({"steps": text[:2]})["steps"] > 0
        saved = ask({"save": True})["saved"]
        assert "error" in ask({"what": 1})
        assert "error" in ask([])
        assert "error" in ask({"restore": "xx"})
        answers = [ask({"steps": text[2:]}), ask({"end": True})]
    assert answers[-1]["has_ended"]
    if model == "sentiment":
        assert answers[-1]["prediction"] == whole["prediction"]
        assert answers[-1]["confidence"] == pytest.approx(whole["confidence"], abs=1e-5)
    with connect(f"ws://127.0.0.1:{server.port}/stream?model={model}") as socket:
        assert ask({"restore": saved}, socket) == {"restored": True}
        again = [ask({"steps": text[2:]}, socket), ask({"end": True}, socket)]
    assert again == answers


def test_a_model_that_needs_whole_sequences_says_so(server: RunningServer) -> None:
    with connect(f"ws://127.0.0.1:{server.port}/stream?model=ner") as socket:
        assert "both directions" in json.loads(socket.recv())["error"]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"inputs": ["x"]}, 400, "several models; choose one with `model`: sentiment, ner, charlm, speech, adding"),
        ({"model": "sentimant", "inputs": ["x"]}, 404, "there is no model 'sentimant'"),
        ({"model": "ner", "task": "x", "inputs": ["x"]}, 404, "there is no task 'x'"),
        ({"model": "ner", "inputs": []}, 400, "inputs"),
        ({"model": "ner", "inputs": "x"}, 400, "inputs"),
        ({"model": "ner", "inputs": ["x"], "input": 1}, 400, "input: "),
        ({"model": "ner", "inputs": ["x"], "top": 0}, 400, "top"),
        ({"model": "ner", "inputs": ["x"] * 1001}, 413, "1,001 inputs"),
        ([], 400, "the body"),
    ],
)
def test_a_mistake_is_a_sentence(body: Any, status: int, words: str, server: RunningServer) -> None:
    answer = post(server, "/predict", body)
    assert answer.status_code == status
    assert words in answer.json()["error"]


def test_a_wrong_path_or_method_is_a_sentence_too(server: RunningServer) -> None:
    answer = httpx.get(server.url + "/nowhere")
    assert answer.status_code == 404
    assert answer.json()["error"] == "there is no path /nowhere; /openapi.json describes those that there are"
    answer = httpx.get(server.url + "/predict")
    assert answer.status_code == 405
    assert answer.json()["error"] == "/predict takes POST, not GET"


def test_the_description_names_models_tasks_and_what_they_read(server: RunningServer) -> None:
    schema = httpx.get(server.url + "/openapi.json").json()
    body = schema["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body["properties"]["model"]["enum"] == [*sorted(server.folders), None]
    kinds = body["properties"]["inputs"]["items"]["anyOf"]
    pair = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
    (rows,) = [kind for kind in kinds if kind.get("items") == pair]
    (record,) = predict(server, "adding", rows["examples"])
    assert isinstance(record["prediction"], float)
    assert len(kinds) == len({json.dumps(kind) for kind in kinds})
    assert {"/predict", "/generate", "/models", "/health", "/metrics"} <= set(schema["paths"])
    facts = httpx.get(server.url + "/models").json()
    assert facts["sentiment"][0]["labels"] == ["negative", "positive"]
    assert facts["ner"][0]["labels"] == ["company", "date", "person", "place"]
    assert facts["ner"][0]["streams"] is False


def test_requests_are_counted(server: RunningServer) -> None:
    predict(server, "sentiment", ["x", 3])
    text = httpx.get(server.url + "/metrics").text
    assert 'seqkit_inputs_total{model="sentiment"}' in text
    assert 'seqkit_requests_total{path="/predict",status="200"}' in text
    assert 'status="500"' not in text


def test_a_page_of_another_site_gets_no_answer(server: RunningServer) -> None:
    assert httpx.get(server.url + "/models", headers={"host": "evil.example"}).status_code == 400


def hammer(server: RunningServer, requests: int, clients: int, *, model: str = "sentiment") -> list[tuple[str, Any]]:
    """Requests of one sentence each from several clients at once: (sentence, prediction)."""
    texts = sentences(requests, seed=7)
    with httpx.Client(timeout=120, limits=httpx.Limits(max_connections=clients)) as client:

        def ask(text: str) -> tuple[str, Any]:
            answer = client.post(server.url + "/predict", json={"model": model, "inputs": [text]})
            assert answer.status_code == 200, answer.text
            return text, answer.json()["results"][0]

        with concurrent.futures.ThreadPoolExecutor(clients) as pool:
            return list(pool.map(ask, texts))


@pytest.mark.parametrize("requests", [300, pytest.param(10_000, marks=pytest.mark.slow)])
def test_no_request_of_many_clients_is_lost_and_answers_are_those_of_predict(
    requests: int, server: RunningServer
) -> None:
    before = server.memory()
    answers = hammer(server, requests, 32)
    assert len(answers) == requests
    expected = seqkit.load(server.folders["sentiment"]).predict([text for text, _ in answers])
    for (_, record), result in zip(answers, expected, strict=True):
        assert record["prediction"] == result.value
        assert record["confidence"] == pytest.approx(result.confidence, abs=1e-5)
    assert server.memory() - before < 200 << 20


def test_a_stop_answers_what_has_come_in(trained: dict[str, Path]) -> None:
    running = start({"sentiment": trained["sentiment"]}, "--batch-wait", "5000")
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        # A server that has had no company yet answers the first one at once; then it waits for others.
        answers = [pool.submit(post, running, "/predict", {"inputs": ["good"]}) for _ in range(4)]
        while "seqkit_waiting_requests 4.0" not in httpx.get(running.url + "/metrics", timeout=60).text:
            time.sleep(0.1)
            if all(answer.done() for answer in answers):
                answers = [pool.submit(post, running, "/predict", {"inputs": ["good"]}) for _ in range(4)]
        assert stop(running) == 0
        assert [answer.result().status_code for answer in answers] == [200] * 4


def test_folders_have_names_of_their_own(tmp_path: Path) -> None:
    folders = [tmp_path / "a" / "model", tmp_path / "b" / "a", tmp_path / "c"]
    assert list(names_of(folders)) == ["a", "a-2", "c"]
