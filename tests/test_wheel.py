"""What a user installs: the wheel holds edgemat, whole and alone."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def tracked(folder: str, pattern: str) -> list[str]:
    """Return the files that a commit holds or would hold, relative to the root."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", f"{folder}/{pattern}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode:
        pytest.skip("not a git checkout")
    return [name for name in done.stdout.splitlines() if (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy of the checkout: setuptools leaves its build folder beside the source."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in tracked(".", "*"):
        goal = source / name
        goal.parent.mkdir(parents=True, exist_ok=True)
        goal.write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def members(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_it_is_pure_python_and_small(wheel: Path) -> None:
    assert wheel.name.startswith("edgemat-")
    assert wheel.name.endswith("-py3-none-any.whl")
    assert wheel.stat().st_size < 20e6


def test_it_puts_one_name_into_site_packages(members: set[str]) -> None:
    assert {name.partition("/")[0] for name in members if ".dist-info/" not in name} == {"edgemat"}


def test_it_holds_no_tests_and_no_configuration(members: set[str]) -> None:
    foreign = [
        n for n in members if "test" in n.lower() or n.endswith(("ruff.toml", "pyproject.toml", ".cfg", ".pyc", ".sh"))
    ]
    assert foreign == []


def test_every_module_and_every_data_file_is_in_it(members: set[str]) -> None:
    expected = {"edgemat/py.typed"}
    for folder in ("edgemat", "export", "quantize", "calib_data"):
        installed = folder if folder == "edgemat" else f"edgemat/{folder}"
        names = [n for ending in ("py", "png", "json", "css") for n in tracked(folder, f"*.{ending}")]
        names += [n for n in tracked(folder, "*.toml") if not n.endswith("ruff.toml")]
        names += [n for n in tracked(folder, "*") if "/weights/" in n]
        expected |= {installed + name.removeprefix(folder) for name in names}
    assert expected <= members, sorted(expected - members)


def test_it_carries_its_licence_and_its_command(wheel: Path, members: set[str]) -> None:
    assert any(name.endswith("/licenses/LICENSE") for name in members)
    entry = next(name for name in members if name.endswith("entry_points.txt"))
    with zipfile.ZipFile(wheel) as archive:
        assert "edgemat = edgemat.cli:main" in archive.read(entry).decode()


def test_it_runs_from_the_archive_alone(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import edgemat.export as e; print(e.__file__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip() == str(tmp_path / "edgemat" / "export" / "__init__.py")
