"""``edgemat bench``: latency of an export folder or a student, here, on a phone, or as a Mac measured it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgemat import console

if TYPE_CHECKING:
    from edgemat.verify.bench.ratio import Gate
    from edgemat.verify.bench.report import BenchReport

_SIZE = (256, 256)
_ALL = "all"


@click.command()
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option(
    "--weights", type=click.Path(path_type=Path), help="Without FOLDER: a student; the shipped one by default."
)
@click.option(
    "--rounds",
    type=click.IntRange(min=6),
    default=60,
    show_default=True,
    help="Each artefact has a turn in each round.",
)
@click.option("--threads", help="Numbers joined by commas, or all; by default 1,all with FOLDER, 1 without.")
@click.option(
    "--gate", "gates", multiple=True, metavar="LIMIT", help="Such as 'tflite int8/tflite fp32<=0.6'; repeatable."
)
@click.option("--device", metavar="adb:SERIAL", help="Time the .tflite files on an Android device.")
@click.option("--benchmark-binary", type=click.Path(path_type=Path), help="LiteRT's benchmark_model for that device.")
@click.option("--accelerator", default="cpu", show_default=True, help="On a device: of cpu,gpu,nnapi,npu, by commas.")
@click.option(
    "--benchmark-flag", multiple=True, metavar="NAME=VALUE", help="Another flag for benchmark_model; repeatable."
)
@click.option("--merge", type=click.Path(path_type=Path), help="What the script of edgemat mac-script wrote on a Mac.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
def bench(
    folder: Path | None,
    weights: Path | None,
    rounds: int,
    threads: str | None,
    gates: tuple[str, ...],
    device: str | None,
    benchmark_binary: Path | None,
    accelerator: str,
    benchmark_flag: tuple[str, ...],
    merge: Path | None,
    as_json: bool,
) -> int:
    """Time the artefacts of an export folder.

    Each is timed in its run time beside the others, in turn, in several fresh processes: what disturbs one disturbs
    all. Compare ratios, not milliseconds. Without FOLDER: the student in ONNX Runtime and LiteRT. The peer is
    MediaPipe's selfie segmentation.

    Exit code 5, inconclusive, where the machine was too busy for a ratio to be held within 5 %; with --gate, where the
    limit lies inside a ratio's interval. The result is kept in FOLDER/proof/bench.json.
    """
    from edgemat.verify.bench.ratio import Gate

    limits = [Gate.parse(text) for text in gates]
    _refuse(folder, weights, device, merge, benchmark_binary)
    if folder is None:
        report = _student(weights, rounds, threads, limits)
    elif merge is not None:
        report = _merged(folder, merge, limits)
    elif device is not None:
        flags = tuple(f"--{flag.lstrip('-')}" for flag in benchmark_flag)
        words = tuple(word.strip() for word in accelerator.split(","))
        report = _phone(folder, device, benchmark_binary, words, threads, rounds, flags, limits)
    else:
        report = _folder(folder, rounds, threads, limits)
    place = None
    if folder is not None:
        from edgemat.verify.bench.run import write

        place = write(report, folder)
    if as_json:
        console.print_json(report.to_json())
    else:
        _show(report)
    if place is not None:
        console.note(f"kept in {place}")
    return report.exit_code


def _refuse(
    folder: Path | None, weights: Path | None, device: str | None, merge: Path | None, binary: Path | None
) -> None:
    """Refuse options that do not go together."""
    if folder is not None and weights is not None:
        raise click.UsageError("--weights is for a benchmark without FOLDER.")
    if folder is None and (device is not None or merge is not None):
        raise click.UsageError("--device and --merge need FOLDER, which edgemat export wrote.")
    if device is not None and merge is not None:
        raise click.UsageError("--device and --merge: one at a time.")
    if device is not None and not (device.startswith("adb:") and len(device) > len("adb:")):
        raise click.UsageError(f"--device {device}: expected adb:SERIAL; see adb devices.")
    if binary is not None and device is None:
        raise click.UsageError("--benchmark-binary needs --device.")


def _counts(text: str | None, default: str) -> tuple[int, ...]:
    """Return the numbers of threads that a text names."""
    from edgemat.errors import InputError
    from edgemat.verify.bench import machine

    found = []
    for word in (text or default).split(","):
        if word.strip() == _ALL:
            found.append(machine.cores())
        elif word.strip().isdigit() and int(word) >= 1:
            found.append(int(word))
        else:
            raise InputError(f"--threads {text}: expected numbers from 1, or all, joined by commas")
    return tuple(dict.fromkeys(found))


def _student(weights: Path | None, rounds: int, threads: str | None, gates: Sequence[Gate]) -> BenchReport:
    from edgemat import calib_data
    from edgemat.verify.bench import run
    from edgemat.verify.bench.sampling import Settings

    settings = Settings(rounds, threads=_counts(threads, "1"))
    with console.progress() as progress:
        return run.of_student(
            weights, calib_data.load().resized(*_SIZE), settings, gates, on_progress=lambda text: progress(text, 0, 0)
        )


def _folder(folder: Path, rounds: int, threads: str | None, gates: Sequence[Gate]) -> BenchReport:
    from edgemat.verify.bench import run
    from edgemat.verify.bench.sampling import Settings

    settings = Settings(rounds, threads=_counts(threads, f"1,{_ALL}"))
    return run.of_folder(folder, settings, gates, on_progress=console.note)


def _merged(folder: Path, merge: Path, gates: Sequence[Gate]) -> BenchReport:
    from edgemat.verify import exported
    from edgemat.verify.bench import mac

    return mac.merge(exported.read(folder), merge, gates)


def _phone(
    folder: Path,
    device: str,
    binary: Path | None,
    accelerators: tuple[str, ...],
    threads: str | None,
    rounds: int,
    flags: tuple[str, ...],
    gates: Sequence[Gate],
) -> BenchReport:
    from edgemat.verify import exported
    from edgemat.verify.bench import phone

    serial = device.removeprefix("adb:")
    counts = None if threads is None or _ALL in threads else _counts(threads, "1")
    plan = phone.Plan(serial, binary, accelerators, counts, rounds, more=flags)
    return phone.bench(exported.read(folder), plan, gates, console.note)


def _show(report: BenchReport) -> None:
    from edgemat.verify.bench import table

    numbers = [console.Column(head, right=True) for head in table.NUMBERS]
    console.table(table.rows(report), [*table.WORDS, *numbers])
    if report.ratios:
        print()
        ratio = console.Column("ratio [95 %]", right=True)
        console.table(table.ratios(report), ["time of", "over time of", "where", ratio, "verdict"])
    for line in table.notes(report):
        console.note(line)
    for judged in report.gates:
        console.note(str(judged) if judged.state == "passed" else f"{judged.state.upper()}: {judged}")
    for one in report.broken:
        console.note(f"FAILED: {one.name}: {one.reason}")
