"""The page: whole, self-contained, safe, true to its documents, and readable in a browser."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from edgemat.verify import proof
from edgemat.verify.page import build, overview
from edgemat.verify.page.gather import gather
from edgemat.verify.page.markup import VOID
from edgemat.verify.parity.report import ParityReport

NASTY = "<script>document.title='owned'</script><img src=x onerror=alert(1)>\"'&"
SECTIONS = ("artefacts", "mattes", "quality", "budget", "latency", "figures", "lint", "unproven", "again")


class Reader(HTMLParser):
    """Reads a page strictly: elements nest, and everything that a page could load or run is collected."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.ids: list[str] = []
        self.links: list[tuple[str, str]] = []
        self.handlers: list[str] = []
        self.alts = 0
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(str(value))
            if name in ("src", "href", "srcset", "data", "action", "poster"):
                self.links.append((tag, str(value)))
            if name.startswith("on") or str(value).startswith("javascript:"):
                self.handlers.append(name)
            self.alts += tag == "img" and name == "alt" and bool(value)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        assert tag in VOID

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def page(home: Path) -> str:
    return build.page(gather(home))


def text_of(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


@pytest.mark.parametrize("failing", [False, True])
def test_it_is_one_file_that_loads_and_runs_nothing(folder, failing: bool) -> None:  # type: ignore[no-untyped-def]
    html = page(folder(failing=failing))
    read = Reader(html)
    assert len(html.encode()) < 3_000_000
    assert not read.tags & {"script", "link", "iframe", "object", "embed", "form", "base", "video", "audio"}
    assert read.handlers == []
    assert all(value.startswith("data:image/") for tag, value in read.links if tag == "img")
    assert all(value.startswith(("#", "https://")) for tag, value in read.links if tag != "img")
    assert not re.search(r"url\(|@import|@font-face", build.style())
    assert html.count("<img") == read.alts
    assert len(read.ids) == len(set(read.ids))
    assert {value[1:] for tag, value in read.links if value.startswith("#")} <= set(read.ids)


def test_the_same_documents_give_the_same_bytes(folder) -> None:  # type: ignore[no-untyped-def]
    assert page(folder()) == page(folder())


def test_the_verdict_comes_first_in_words(folder) -> None:  # type: ignore[no-untyped-def]
    html = page(folder())
    words = text_of(html[html.index("<body") :])
    assert words.index("Passed: 17 of 18 artefacts kept every limit on 32 images.") < words.index("coreml fp16")
    assert "1 artefact could not be run here." in words
    assert 'id="failures"' not in html
    assert all(f'id="{name}"' in html for name in SECTIONS)


def test_what_failed_is_told_with_findings_tensor_and_figures(folder) -> None:  # type: ignore[no-untyped-def]
    html = page(folder(failing=True))
    words = text_of(html)
    assert "Failed: 3 of 18 artefacts on 32 images: openvino int8, qnn int8, tflite int8." in words
    section = text_of(html[html.index('id="failures"') : html.index('id="mattes"')])
    for said in ("SIGSEGV", "no answer in 120 s", "a scale x1.01 explains it", "ups.0.conv", "MAD, skin: dark", "18 %"):
        assert said in section


def test_what_is_not_proven_is_said(folder) -> None:  # type: ignore[no-untyped-def]
    html = page(folder(proof.BENCH))
    section = text_of(html[html.index('id="unproven"') : html.index('id="again"')])
    for said in ("Neural Engine", "tensorrt int8 was not run", "Latency: not measured", "no reader"):
        assert said in section
    again = text_of(html[html.index('id="again"') :])
    for said in ("edgemat parity out --images holdout", "c0ffee", "onnxruntime", "1.28.0"):
        assert said in again


def test_latencies_come_with_ratios_reasons_roof_and_placement(folder) -> None:  # type: ignore[no-untyped-def]
    html = page(folder())
    section = text_of(html[html.index('id="latency"') : html.index('id="figures"')])
    for said in (
        "tflite int8 / tflite fp32", "0.455 [0.440, 0.470]", "faster", "inconclusive", "noise drowns it",
        "no dot product of 8-bit integers", "1 operators on Neural Engine", "max abs 0.003 from the reference",
        "resize",
    ):  # fmt: skip
        assert said in section


def test_the_budget_shows_every_step_and_what_was_not_run(folder) -> None:  # type: ignore[no-untyped-def]
    html = page(folder())
    section = text_of(html[html.index('id="budget"') : html.index('id="latency"')])
    for said in ("MAD, whole frame: less is better", "rounding of weights to codes", "not run", "no NVIDIA GPU here"):
        assert said in section


@pytest.mark.parametrize("name", [proof.PARITY, proof.WATERFALL, proof.BENCH, proof.LINT, proof.STRIPS])
def test_a_page_is_made_of_what_is_there(folder, name: str) -> None:  # type: ignore[no-untyped-def]
    home = folder(name)
    html = page(home)
    Reader(html)
    assert "not measured; run: edgemat" in html
    tone, sentence = overview.verdict(gather(home))
    assert (tone == "bad") == (name == proof.PARITY), sentence


def test_green_is_only_for_a_proof_in_which_nothing_failed(folder) -> None:  # type: ignore[no-untyped-def]
    home = folder()
    assert overview.verdict(gather(home))[0] == "good"
    lint = home / proof.FOLDER / proof.LINT
    document = json.loads(lint.read_text())
    document["findings"][0]["level"] = "error"
    lint.write_text(json.dumps(document))
    tone, sentence = overview.verdict(gather(home))
    assert tone == "bad"
    assert "lint" in sentence
    report = json.loads((home / "report.json").read_text())
    report["results"][0]["sha256"] = "other"
    (home / "report.json").write_text(json.dumps(report))
    assert overview.verdict(gather(home))[1].startswith("Out of date: coreml fp16")
    assert "exported again since" in page(home)


def poisoned(value: object) -> object:
    """Return a document in which every word that people or tools wrote is markup."""
    fixed = {"state", "question", "name", "unit", "level", "target", "precision", "kind", "chain", "metric", "rule"}
    if isinstance(value, dict):
        return {k: v if k in fixed and isinstance(v, str) else poisoned(v) for k, v in value.items()}
    if isinstance(value, list):
        return [poisoned(item) for item in value]
    return NASTY if isinstance(value, str) else value


def test_markup_in_any_document_stays_text(folder) -> None:  # type: ignore[no-untyped-def]
    home = folder(failing=True)
    for name in (proof.PARITY, proof.LINT):
        place = home / proof.FOLDER / name
        place.write_text(json.dumps(poisoned(json.loads(place.read_text()))))
    for name, keys in ((proof.WATERFALL, ("note", "missing")), (proof.BENCH, ("note", "reason", "runtime", "device"))):
        place = home / proof.FOLDER / name
        text = place.read_text()
        for key in keys:
            text = re.sub(rf'"{key}": "[^"]+"', lambda m, k=key: f'"{k}": {json.dumps(NASTY)}', text)
        place.write_text(text)
    found = gather(home)
    assert found.absent == {}
    html = build.page(found)
    read = Reader(html)
    assert "script" not in read.tags
    assert read.handlers == []
    assert html.count("&lt;script&gt;") > 100
    assert all(value.startswith(("#", "data:image/", "https://")) for _, value in read.links)


def test_a_report_without_truth_pictures_or_figures_still_makes_a_page(folder) -> None:  # type: ignore[no-untyped-def]
    whole = gather(folder()).parity
    assert whole is not None
    bare = [
        dataclasses.replace(o, figures=tuple(f for f in o.figures if f.question == "conversion"))
        for o in whole.outcomes
    ]
    report = ParityReport(tuple(bare), {"count": 3}, {}, {}, {})
    html = page(folder(proof.STRIPS, report=report))
    Reader(html)
    assert "Not measured: no artefact has figures on ground truth." in html
    Reader(page(folder(report=ParityReport((), {}, {}, {}, {}))))


def test_it_is_written_where_it_is_asked_for(folder, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    home = folder()
    assert build.write(home) == home / proof.FOLDER / proof.PAGE
    goal = tmp_path / "deep" / "page.html"
    assert build.write(home, goal) == goal
    assert goal.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_the_reader_finds_what_it_looks_for() -> None:
    with pytest.raises(AssertionError):
        Reader("<p><b></p></b>")
    assert Reader("<p onclick='x'></p>").handlers == ["onclick"]


def browser() -> str | None:
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.mark.slow
@pytest.mark.skipif(browser() is None, reason="no Chromium here")
@pytest.mark.parametrize(("width", "height"), [(1280, 900), (500, 900)])
def test_in_a_browser_nothing_is_wider_than_the_window_and_nothing_is_complained_of(
    folder, tmp_path: Path, width: int, height: int
) -> None:  # type: ignore[no-untyped-def]
    html = page(folder(failing=True))
    policy = re.search(r'<meta http-equiv="Content-Security-Policy"[^>]*>', html)
    assert policy is not None
    probe = (
        "<script>addEventListener('load',()=>{const d=document.documentElement;"
        "const fits=d.scrollWidth<=d.clientWidth?'fits':'overflows';"
        "document.title=`${fits} ${d.scrollWidth} ${d.clientWidth}`})</script>"
    )
    place = tmp_path / "page.html"
    place.write_text(html.replace(policy[0], "").replace("</head>", f"{probe}</head>"), encoding="utf-8")
    command = [
        str(browser()), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
        f"--window-size={width},{height}", "--enable-logging=stderr", "--dump-dom", place.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    title = re.search(r"<title>(.*?)</title>", done.stdout)
    assert title is not None
    assert title[1].startswith("fits"), title[1]
    assert "CONSOLE" not in done.stderr
