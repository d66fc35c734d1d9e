"""Take the screenshots of docs/images: TensorBoard's first screen of each kind of task, the page of `seqkit serve`, and
what else is worth a look.

python docs/make_screenshots.py             all of them
python docs/make_screenshots.py ner hparams only these
python docs/make_screenshots.py --list      their names

Recipes that come with seqkit are trained first, into a folder that is kept (`--runs FOLDER`): the next call takes the
pictures again at once. It needs playwright, and a Chromium, its own or the one of the system. A picture is only written
if what it has to show is on the screen without a click.
"""

from __future__ import annotations

import argparse
import io
import math
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from seqkit.cli.tensorboard import serve

IMAGES = Path(__file__).parent / "images"
RUNS = Path("runs") / "screenshots"

WIDTH, HEIGHT = 1280, 800
MOST_BYTES = 150_000
WAIT_MS = 60_000


@dataclass(frozen=True)
class Training:
    """A run: its recipe and what is changed of it."""

    recipe: str
    settings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Shot:
    """A picture.

    Attributes:
        runs: folder -> what is trained there.
        shows: texts that must be within the window.
        tab: of TensorBoard.
        query: what the address says more: `tagFilter=...`.
        width, height: of the window.
        hides: left, top, right and lower edge of what is painted over: the folder on this machine.
        page: words of a command that writes the page that is shown instead of TensorBoard; its name is their last.
        typed: heading of a model on the page of `seqkit serve`, which is shown then -> what is typed there.
    """

    runs: dict[str, Training]
    shows: tuple[str, ...]
    tab: str = "timeseries"
    query: str = ""
    width: int = WIDTH
    height: int = HEIGHT
    hides: tuple[int, int, int, int] | None = None
    page: tuple[str, ...] = ()
    typed: dict[str, str] = field(default_factory=dict)


def quick(recipe: str, steps: int, every: int, *more: str) -> Training:
    """The recipe, stopped after so many steps, with an evaluation at every so many and five logs between them."""
    return Training(
        recipe, (f"train.steps={steps}", f"train.evaluate_every={every}", f"train.log_every={every // 5}", *more)
    )


EARLY = {"ner": quick("ner", 160, 20)}
"""A tagger that still makes mistakes."""
RATES = {f"speech-lr-{rate}": quick("speech", 80, 20, f"train.optimizer.lr={rate}") for rate in (0.001, 0.004, 0.01)}
TOURISTS = " ".join(str(round(1000 + 12 * month + 400 * math.sin(month * math.pi / 6))) for month in range(72))
"""Six years of a season and a trend."""
SHOTS: dict[str, Shot] = {
    "serve-page": Shot(
        {"ner": Training("ner"), "tourism": Training("series-tourism")},
        ("company", "steps of 1 number", "Fill in random numbers"),
        width=900,
        height=1080,
        typed={"ner": "Greta Preston joined Bank of Lincoln on 3 May .", "tourism: series": TOURISTS},
    ),
    "tensorboard-ner": Shot(EARLY, ("learning/ner/loss", "learning/ner/span_f1")),
    "tensorboard-sentiment": Shot(
        {"sentiment": quick("sentiment", 500, 25)}, ("learning/sentiment/loss", "learning/sentiment/accuracy")
    ),
    "tensorboard-speech": Shot(
        {"speech": quick("speech", 200, 10)}, ("learning/speech/loss", "learning/speech/accuracy")
    ),
    "tensorboard-charlm": Shot(
        {"charlm": quick("charlm", 120, 10)}, ("learning/charlm/nats", "learning/charlm/perplexity")
    ),
    "tensorboard-translation": Shot(
        {"translation": quick("translation", 500, 50)},
        ("learning/translation/nats", "learning/translation/exact"),
    ),
    "tensorboard-hparams": Shot(RATES, ("train.optimizer.lr", "speech-lr-0.01/tb"), tab="hparams", width=1700),
    "tensorboard-samples": Shot(EARLY, ("ner/dev/samples", "step 160"), tab="text", hides=(20, 375, 310, 400)),
    "tensorboard-pictures": Shot(EARLY, ("pictures/ner/test/confusion",), query="tagFilter=pictures%2Fner%2Ftest"),
    "tensorboard-memory": Shot(
        {"adding": Training("adding", ("train.memory=25", "train.steps=400"))},
        ("through time/adding/gradient by distance", "half-life by unit"),
        query="tagFilter=(half-life%20by%20unit|gradient%20by%20distance)",
        height=520,
    ),
    "report": Shot(EARLY, ("Report of ner",), page=("report", "ner", "--out")),
    "comparison": Shot(
        RATES, ("is better than",), page=("compare", "speech-lr-0.001", "speech-lr-0.01", "--html"), height=620
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="which pictures; without, all of them")
    parser.add_argument("--runs", type=Path, default=RUNS, help="folder of the runs")
    parser.add_argument("--list", action="store_true", help="print the names and end")
    options = parser.parse_args()
    if options.list:
        print("\n".join(SHOTS))
        return
    if unknown := [name for name in options.names if name not in SHOTS]:
        parser.error(f"there is no picture {unknown[0]!r}; there are: {', '.join(SHOTS)}")
    names = options.names or list(SHOTS)
    for name in names:
        for folder, training in SHOTS[name].runs.items():
            train(training, options.runs / name_of(SHOTS[name]) / folder)
    IMAGES.mkdir(exist_ok=True)
    with browser() as page:
        for name in names:
            take(page, name, SHOTS[name], options.runs)


def name_of(shot: Shot) -> str:
    """The folder of the runs of a picture, which is what TensorBoard shows."""
    return "+".join(shot.runs)


def train(training: Training, folder: Path) -> None:
    """Train it, unless that was done before."""
    if (folder / "model").is_dir():
        return
    if folder.exists():
        shutil.rmtree(folder)
    command = [sys.executable, "-m", "seqkit", "run", training.recipe, "--quiet", "--out", str(folder)]
    for setting in training.settings:
        command += ["--set", setting]
    print(" ".join(command[2:]), flush=True)
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)


@contextmanager
def browser() -> Iterator[Any]:
    """A page of fixed size in headless Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        installed = shutil.which("chromium") or shutil.which("chromium-browser")
        chromium = driver.chromium.launch(executable_path=installed, args=["--no-sandbox"])
        page = chromium.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        page.set_default_timeout(WAIT_MS)
        yield page
        chromium.close()


def take(page: Any, name: str, shot: Shot, runs: Path) -> None:
    """Take one picture, and write it to docs/images.

    Raises:
        SystemExit: what it has to show is not within the window, or the file is too large.
    """
    page.set_viewport_size({"width": shot.width, "height": shot.height})
    with shown(runs / name_of(shot), shot) as address:
        page.goto(address)
        for heading, text in shot.typed.items():
            model = page.locator(".task").filter(has=page.get_by_role("heading", name=heading, exact=True))
            model.locator("textarea").fill(text)
            model.get_by_role("button", name="Predict").click()
            model.locator(".result").wait_for()
        for text in shot.shows:
            wait_for(page, name, shot, text)
        page.wait_for_load_state("networkidle")
        page.wait_for_timeout(500 if shot.page or shot.typed else 10_000)  # charts are drawn after their titles
        picture = Image.open(io.BytesIO(page.screenshot()))
    if shot.hides is not None:
        picture.paste(picture.getpixel((5, shot.height - 200)), shot.hides)
    stream = io.BytesIO()
    # 256 colours are enough for charts and words, and take a third of the space.
    picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(stream, "png", optimize=True)
    if len(stream.getvalue()) > MOST_BYTES:
        sys.exit(f"{name}: {len(stream.getvalue()):,} bytes, but {MOST_BYTES:,} are the most")
    (IMAGES / f"{name}.png").write_bytes(stream.getvalue())
    print(f"{name}.png: {len(stream.getvalue()):,} bytes", flush=True)


@contextmanager
def shown(folder: Path, shot: Shot) -> Iterator[str]:
    """The address of what is on the picture."""
    if shot.page:
        command = [sys.executable, "-m", "seqkit", *shot.page, "page.html", "--quiet"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr)
        yield (folder / "page.html").absolute().as_uri()
        return
    if shot.typed:
        with served([folder / run for run in shot.runs]) as address:
            yield address
        return
    query = "&".join(["smoothing=0", "darkMode=false", *([shot.query] if shot.query else [])])
    with serve(folder) as address:
        yield f"{address.partition('?')[0]}?{query}#{shot.tab}"


@contextmanager
def served(folders: Sequence[Path]) -> Iterator[str]:
    """The address of the page of `seqkit serve` with these models."""
    command = [sys.executable, "-m", "seqkit", "serve", *map(str, folders), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        address = re.search(r"http://\S+", line)
        if address is None:
            sys.exit(line + process.stderr.read())
        yield address.group()
        process.terminate()


def wait_for(page: Any, name: str, shot: Shot, text: str) -> None:
    """Wait until a text is within the window, wherever it is drawn first."""
    try:
        page.wait_for_function(
            """([text, height]) => {
                const inside = (root) => [...root.querySelectorAll("*")].some((node) => {
                    if (node.shadowRoot && inside(node.shadowRoot)) return true;
                    const box = node.getBoundingClientRect();
                    const is_line = box.height > 0 && box.height < 60 && box.bottom <= height && box.top >= 0;
                    return is_line && node.textContent.includes(text);
                });
                return inside(document);
            }""",
            arg=[text, shot.height],
        )
    except Exception as error:
        page.screenshot(path=RUNS.parent / f"{name}-failed.png")
        sys.exit(f"{name}: {text!r} is not on the screen ({error}); see {RUNS.parent / name}-failed.png")


if __name__ == "__main__":
    main()
