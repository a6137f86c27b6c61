"""Weights survive a round trip; every kind of wrong file is refused with its reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from safetensors import safe_open
from safetensors.torch import save_file

from edgemat.errors import InputError, OutputError
from edgemat.model import weights
from edgemat.model.student import Normalization, Student, StudentConfig
from edgemat.model.teacher import Teacher, TeacherConfig

from ..full_disk import a_full_disk

CARD = {"version": "1.0", "license": "Apache-2.0", "author": "us", "description": "a test", "seed": 3}
CONFIG = StudentConfig(
    widths=(8, 8, 16), depths=(1, 1, 1), normalization=Normalization((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "s.safetensors"
    weights.save(Student(CONFIG), path, CARD)
    return path


def rewrite(path: Path, change) -> None:  # type: ignore[no-untyped-def]
    with safe_open(path, framework="pt") as file:
        metadata, state = dict(file.metadata()), {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
    change(metadata, state)
    save_file(state, path, metadata)


def test_round_trip(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = Student(CONFIG).eval()
    weights.save(net, tmp_path / "s.safetensors", CARD)
    loaded = weights.load(tmp_path / "s.safetensors")
    image = torch.rand(1, 3, 64, 64)
    assert loaded.config == CONFIG
    assert loaded.info == {**{k: str(v) for k, v in CARD.items()}}
    assert not loaded.net.training
    assert torch.equal(loaded.net(image), net(image))


def test_card_must_be_complete(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="license"):
        weights.save(Student(CONFIG), tmp_path / "s.safetensors", {**CARD, "license": ""})
    assert not list(tmp_path.iterdir())


def test_nan_is_not_saved(tmp_path: Path) -> None:
    net = Student(CONFIG)
    net.head.weight.data[0, 0, 0, 0] = float("nan")
    with pytest.raises(InputError, match=r"head\.weight: 1 of"):
        weights.save(net, tmp_path / "s.safetensors", CARD)
    assert not list(tmp_path.iterdir())


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        weights.load(tmp_path / "none.safetensors")


@pytest.mark.parametrize("size", [0, 5, 100, -7])
def test_truncated(saved: Path, size: int) -> None:
    saved.write_bytes(saved.read_bytes()[:size])
    with pytest.raises(InputError, match=r"s\.safetensors: not a whole safetensors file"):
        weights.load(saved)


@pytest.mark.parametrize("name", ["s.pt", "s.pth", "renamed.safetensors"])
def test_pickle_is_refused(tmp_path: Path, name: str) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / name)
    with pytest.raises(InputError, match=r"pickle.*weights\.save"):
        weights.load(tmp_path / name)


def test_foreign_format(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(InputError, match=r"format None.*'edgemat-student'"):
        weights.load(tmp_path / "x.safetensors")


def test_later_schema(saved: Path) -> None:
    rewrite(saved, lambda metadata, _: metadata.update(schema_version="2"))
    with pytest.raises(InputError, match="schema_version '2', this edgemat reads 1"):
        weights.load(saved)


@pytest.mark.parametrize("config", ["{", "[]", "{}", json.dumps({"arch": "x", "normalization": {}}), '{"odd": 1}'])
def test_bad_config(saved: Path, config: str) -> None:
    rewrite(saved, lambda metadata, _: metadata.update(config=config))
    with pytest.raises(InputError, match="is not that of edgemat-student"):
        weights.load(saved)


def test_every_wrong_tensor_is_listed(saved: Path) -> None:
    def change(_: dict[str, str], state: dict[str, torch.Tensor]) -> None:
        del state["head.bias"]
        state["odd"] = torch.zeros(2)
        state["head.weight"] = torch.zeros(1, 2)
        state["laterals.0.0.weight"] = state["laterals.0.0.weight"].half()

    rewrite(saved, change)
    with pytest.raises(InputError) as caught:
        weights.load(saved)
    message = str(caught.value)
    assert "4 tensors" in message
    assert "head.bias: missing, expected float32" in message
    assert "odd: unexpected, float32 (2,)" in message
    assert "head.weight: found float32 (1, 2), expected float32 (" in message
    assert "laterals.0.0.weight: found float16" in message


def test_only_ten_are_listed(saved: Path) -> None:
    rewrite(saved, lambda _, state: state.update({f"odd{i}": torch.zeros(1) for i in range(13)}))
    with pytest.raises(InputError, match="and 3 more"):
        weights.load(saved)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_non_finite_weights(saved: Path, bad: float) -> None:
    rewrite(saved, lambda _, state: state["head.bias"].fill_(bad))
    with pytest.raises(InputError, match=r"head\.bias: (\d+) of \1 values"):
        weights.load(saved)


def test_shipped_path() -> None:
    assert weights.shipped().name == "student.safetensors"


TEACHER = TeacherConfig(widths=(4, 8), depths=(0, 1), likelihood="gaussian", log_scale=(-5.0, 0.0))


@pytest.fixture
def saved_teacher(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "t.safetensors"
    weights.save_teacher(Teacher(TEACHER), path, CARD)
    return path


def test_a_teachers_round_trip_costs_no_more_than_float16(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = Teacher(TEACHER).eval()
    weights.save_teacher(net, tmp_path / "t.safetensors", CARD)
    loaded = weights.load_teacher(tmp_path / "t.safetensors")
    assert loaded.config == TEACHER
    assert loaded.info == {k: str(v) for k, v in CARD.items()}
    assert not loaded.net.training
    for name, value in net.state_dict().items():
        read = loaded.net.state_dict()[name]
        assert read.dtype == value.dtype
        # float16 has 11 significant bits; below 2**-14 it has steps of 2**-24.
        assert torch.allclose(read, value, rtol=2**-11 if value.ndim == 4 else 0, atol=2**-25), name
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for mine, its in zip(net.logits(image), loaded.net.logits(image), strict=True):
            assert 0 < float((mine - its).abs().max()) < 1e-3


def test_a_teachers_file_holds_float16_kernels_and_float32_statistics(saved_teacher: Path) -> None:
    with safe_open(saved_teacher, framework="pt") as file:
        kinds = {(file.get_tensor(k).ndim == 4, file.get_tensor(k).dtype) for k in file.keys()}  # noqa: SIM118
    assert (True, torch.float16) in kinds
    assert (True, torch.float32) not in kinds
    assert (False, torch.float16) not in kinds


def test_a_second_round_trip_changes_nothing(saved_teacher: Path, tmp_path: Path) -> None:
    once = weights.load_teacher(saved_teacher)
    weights.save_teacher(once.net, tmp_path / "again.safetensors", once.info)
    again = weights.load_teacher(tmp_path / "again.safetensors").net.state_dict()
    assert all(torch.equal(value, again[name]) for name, value in once.net.state_dict().items())


def test_a_weight_too_large_for_float16_is_not_saved(tmp_path: Path) -> None:
    net = Teacher(TEACHER)
    net.alpha.weight.data[0, 0, 0, 0] = 1e6
    with pytest.raises(InputError, match=r"alpha\.weight: 1 of"):
        weights.save_teacher(net, tmp_path / "t.safetensors", CARD)
    assert not list(tmp_path.iterdir())


def test_students_and_teachers_are_told_apart(saved: Path, saved_teacher: Path) -> None:
    assert weights.file_format(saved) == weights.FORMAT
    assert weights.file_format(saved_teacher) == weights.TEACHER_FORMAT
    with pytest.raises(InputError, match=r"s\.safetensors: format 'edgemat-student'.*'edgemat-teacher'.*train teacher"):
        weights.load_teacher(saved)
    with pytest.raises(InputError, match=r"t\.safetensors: format 'edgemat-teacher'.*expected 'edgemat-student'"):
        weights.load(saved_teacher)


def test_the_format_of_other_files(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "x.safetensors")
    assert weights.file_format(tmp_path / "x.safetensors") == ""
    with pytest.raises(InputError, match="no such file"):
        weights.file_format(tmp_path / "none.safetensors")
    torch.save({"a": torch.zeros(1)}, tmp_path / "x.pt")
    with pytest.raises(InputError, match="pickle"):
        weights.file_format(tmp_path / "x.pt")


def test_every_wrong_tensor_of_a_teacher_is_listed(saved_teacher: Path) -> None:
    def change(_: dict[str, str], state: dict[str, torch.Tensor]) -> None:
        del state["alpha.bias"]
        state["alpha.weight"] = torch.zeros(1, 1, 3, 3).half()

    rewrite(saved_teacher, change)
    with pytest.raises(InputError, match=r"(?s)2 tensors.*alpha\.weight: found.*alpha\.bias: missing"):
        weights.load_teacher(saved_teacher)


def test_a_bad_teachers_configuration_is_refused(saved_teacher: Path) -> None:
    rewrite(saved_teacher, lambda metadata, _: metadata.update(config='{"normalization": {}, "likelihood": "cauchy"}'))
    with pytest.raises(InputError, match=r"is not that of edgemat-teacher \(likelihood 'cauchy'"):
        weights.load_teacher(saved_teacher)


@pytest.mark.parametrize("kind", ["student", "teacher"])
def test_a_full_disk_leaves_the_earlier_weights_intact(kind: str, saved: Path, saved_teacher: Path) -> None:
    path = saved if kind == "student" else saved_teacher
    before = path.read_bytes()
    write: Callable[[], None] = (
        (lambda: weights.save(Student(CONFIG), path, CARD))
        if kind == "student"
        else (lambda: weights.save_teacher(Teacher(TEACHER), path, CARD))
    )
    with a_full_disk(1000), pytest.raises(OutputError, match=r"safetensors: cannot be written"):
        write()
    assert path.read_bytes() == before
    assert sorted(p.name for p in path.parent.iterdir()) == ["s.safetensors", "t.safetensors"]


def test_shipped_teachers_path() -> None:
    assert weights.shipped_teacher().name == "teacher.safetensors"
