"""What the group `prediction` runs as commands: `python -m benchmarks.prediction_child VERB ARGUMENTS...`.

sentences KIND COUNT FILE              a file of raw text
train-NAME KIND EXAMPLES MODEL         a model of seqkit, spacy or flair, trained on that many examples
predict-NAME KIND MODEL FILE COUNT     a line of JSON on stdout for each of the first sentences (spacy, flair)
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from benchmarks.groups.prediction import json_line, task_of, train_seqkit, write_sentences

BATCH = 32


def examples(kind: str, count: int) -> list[Any]:
    """Of the training split, as seqkit reads it: words with tags, or text with a class."""
    return list(islice(task_of(kind).read("train"), count))


def spans(example: Any) -> list[tuple[str, int, int]]:
    """(type, first word, one after the last) of each name."""
    from seqkit.spans import spans_of

    return list(spans_of(example.target, "iob2"))


def texts(path: str, count: str) -> Iterator[str]:
    with open(path, encoding="utf-8") as lines:
        yield from (line.rstrip("\n") for line in islice(lines, int(count)))


def own_output() -> TextIO:
    """Standard output for predictions alone: whatever libraries print from now on goes to stderr."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return out


def batched(items: list[Any]) -> Iterator[list[Any]]:
    return (items[start : start + BATCH] for start in range(0, len(items), BATCH))


# ---- spaCy


def train_spacy(kind: str, count: str, folder: str) -> None:
    """An empty English pipeline with its tagger of names, or its classifier, as its documentation trains them."""
    import spacy
    from spacy.tokens import Doc, Span
    from spacy.training import Example

    nlp = spacy.blank("en")
    pipe: Any = nlp.add_pipe("ner" if kind == "tagging" else "textcat")
    read = examples(kind, int(count))
    labels = [] if kind == "tagging" else sorted({str(example.target) for example in read})
    made = []
    for example in read:
        if kind == "tagging":
            document = Doc(nlp.vocab, words=list(example.input))
            reference = document.copy()
            reference.set_ents([Span(reference, start, stop, label=label) for label, start, stop in spans(example)])
            made.append(Example(document, reference))
        else:
            classes = {label: float(label == str(example.target)) for label in labels}
            made.append(Example.from_dict(nlp.make_doc(example.input), {"cats": classes}))
    for label in labels:
        pipe.add_label(label)
    nlp.initialize(lambda: made)
    for batch in batched(made):
        nlp.update(batch)
    nlp.to_disk(folder)


def predict_spacy(kind: str, folder: str, path: str, count: str) -> None:
    import spacy

    out = own_output()
    nlp = spacy.load(folder)
    for document in nlp.pipe(texts(path, count)):
        if kind == "tagging":
            prediction: Any = [[span.label_, span.start_char, span.end_char] for span in document.ents]
        else:
            prediction = max(document.cats, key=document.cats.get)
        print(json_line(document.text, prediction), file=out)
    out.close()


# ---- Flair


def train_flair(kind: str, count: str, folder: str) -> None:
    """Words in a trained table of 128 and a bidirectional LSTM of 128, with a random field or a linear layer."""
    import torch
    from flair.data import Dictionary, Sentence
    from flair.embeddings import DocumentRNNEmbeddings, OneHotEmbeddings
    from flair.models import SequenceTagger, TextClassifier

    words, labels, counts, made = Dictionary(), Dictionary(add_unk=False), Counter[str](), []
    for example in examples(kind, int(count)):
        tokens = list(example.input) if kind == "tagging" else example.input.split()
        sentence = Sentence(tokens)
        counts.update(tokens)
        if kind == "tagging":
            labels.span_labels = True
            for label, start, stop in spans(example):
                sentence[start:stop].add_label("ner", label)
                labels.add_item(label)
        else:
            sentence.add_label("class", str(example.target))
            labels.add_item(str(example.target))
        made.append(sentence)
    for word, _ in counts.most_common():
        words.add_item(word)
    table = OneHotEmbeddings(words, embedding_length=128)
    if kind == "tagging":
        model: Any = SequenceTagger(table, labels, "ner", hidden_size=128, reproject_embeddings=False)
    else:
        document = DocumentRNNEmbeddings(
            [table], hidden_size=128, rnn_type="LSTM", bidirectional=True, reproject_words=False
        )
        model = TextClassifier(document, label_type="class", label_dictionary=labels)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    model.train()
    for batch in batched(made):
        loss, terms = model.forward_loss(batch)
        (loss / terms).backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save(folder)


def predict_flair(kind: str, folder: str, path: str, count: str) -> None:
    """In lists of 1,024 sentences, so that its memory is bounded, which it sorts by length itself."""
    from flair.data import Sentence
    from flair.models import SequenceTagger, TextClassifier

    out = own_output()
    model: Any = (SequenceTagger if kind == "tagging" else TextClassifier).load(folder)
    lines = texts(path, count)
    while chunk := list(islice(lines, 1024)):
        sentences = [Sentence(line) for line in chunk]
        model.predict(sentences, mini_batch_size=64)
        for line, sentence in zip(chunk, sentences, strict=True):
            if kind == "tagging":
                names = sentence.get_spans("ner")
                prediction: Any = [[span.tag, span.start_position, span.end_position] for span in names]
            else:
                prediction = [label.value for label in sentence.get_labels("class")][:1]
            print(json_line(line, prediction), file=out)
    out.close()


def main(verb: str, *arguments: str) -> None:
    if verb == "sentences":
        write_sentences(arguments[0], int(arguments[1]), Path(arguments[2]))
    elif verb == "train-seqkit":
        train_seqkit(arguments[0], int(arguments[1]), Path(arguments[2]))
    else:
        {
            "train-spacy": train_spacy,
            "train-flair": train_flair,
            "predict-spacy": predict_spacy,
            "predict-flair": predict_flair,
        }[verb](*arguments)


if __name__ == "__main__":
    main(*sys.argv[1:])
