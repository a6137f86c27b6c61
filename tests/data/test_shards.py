"""Shards: exact there and back, the same bytes, any order, other makers' sets, and every fault by its name."""

from __future__ import annotations

import contextlib
import io
import pickle
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edgemat.data.folder import MatteFolder
from edgemat.data.shards import Shards, open_examples, shuffled, write_shard, write_shards
from edgemat.data.types import Example
from edgemat.errors import InputError, OutputError
from edgemat.images import write_png


def example(seed: int = 0, size: tuple[int, int] = (6, 5), taught: bool = False) -> Example:
    """Return random pixels whose mattes are exact at 8 and 16 bits."""
    rng = np.random.default_rng(seed)

    def plane(codes: int) -> np.ndarray:  # type: ignore[type-arg]
        return (rng.integers(0, codes + 1, size) / np.float32(codes)).astype(np.float32)

    image = rng.integers(0, 256, (*size, 3)).astype(np.uint8)
    return Example(image, plane(255), plane(255) if taught else None, plane(65535) if taught else None)


def same(one: Example, other: Example) -> bool:
    pairs = [(getattr(one, name), getattr(other, name)) for name in ("image", "alpha", "teacher", "uncertainty")]
    return all(a is b is None or (a is not None and b is not None and np.array_equal(a, b)) for a, b in pairs)


def picture(size: tuple[int, int] = (6, 5), mode: str = "RGB", form: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.new(mode, size[::-1]).save(stream, form)
    return stream.getvalue()


def pack(path: Path, files: Mapping[str, bytes], form: int = tarfile.PAX_FORMAT) -> Path:
    """Write a tar with the standard library alone, as another maker would."""
    with tarfile.open(path, "w", format=form) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(content), 1.5  # webdataset gives fractions: an extension header each
            tar.addfile(info, io.BytesIO(content))
    return path


def test_there_and_back_is_exact(tmp_path: Path) -> None:
    stored = [(f"set/{i}", example(i, (5 + i, 7), taught=i % 2 == 0)) for i in range(5)]
    assert write_shards(stored, tmp_path, per_shard=2) == 5
    assert sorted(p.name for p in tmp_path.iterdir()) == ["000000.tar", "000001.tar", "000002.tar"]
    shards = Shards(tmp_path)
    assert [shards.key(i) for i in range(-5, 5)] == [key for key, _ in stored] * 2
    assert all(same(found, wanted) for found, (_, wanted) in zip(shards, stored, strict=True))
    assert all(same(shards[i], stored[i][1]) for i in (4, 0, 3, -1, 1, 2))
    with pytest.raises(IndexError):
        shards[5]


def test_uncertainty_over_one_is_stored_as_one(tmp_path: Path) -> None:
    plain = example()
    doubt = np.full((6, 5), 7, np.float32)
    write_shards([("a", Example(plain.image, plain.alpha, plain.alpha, doubt))], tmp_path)
    found = Shards(tmp_path)[0].uncertainty
    assert found is not None
    assert found.max() == found.min() == 1


def test_the_same_examples_give_the_same_bytes(tmp_path: Path) -> None:
    for folder in ("one", "other"):
        write_shards([(str(i), example(i, taught=True)) for i in range(3)], tmp_path / folder)
    one, other = ((tmp_path / folder / "000000.tar").read_bytes() for folder in ("one", "other"))
    assert one == other


def test_a_full_shard_leaves_no_empty_one_behind_and_nothing_is_no_shard(tmp_path: Path) -> None:
    assert write_shards([(str(i), example(i)) for i in range(4)], tmp_path / "full", per_shard=2) == 4
    assert len(list((tmp_path / "full").iterdir())) == 2
    assert write_shards([], tmp_path / "none") == 0
    assert not (tmp_path / "none").exists()


def test_a_shard_that_fails_half_way_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"key 'b\.c'"):
        write_shards([("a", example()), ("b.c", example())], tmp_path)
    with pytest.raises(ValueError, match="key 'a'"):
        write_shards([("a", example()), ("a", example())], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_shards_are_not_written_among_others(tmp_path: Path) -> None:
    write_shards([("a", example())], tmp_path)
    with pytest.raises(OutputError, match="holds shards already"):
        write_shards([("b", example())], tmp_path)


def test_metadata(tmp_path: Path) -> None:
    write_shard([("a", example(), {"kinds": ["cup"], "ita": None}), ("b", example(), {})], tmp_path / "x.tar")
    shards = Shards(tmp_path / "x.tar")
    assert shards.metadata(0) == {"kinds": ["cup"], "ita": None}
    assert shards.metadata(1) == {}


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_tars_of_every_format_and_long_names(form: int, tmp_path: Path) -> None:
    folder = "/".join(["folder.with.dots" * 4] * 2)
    files = {"a.png": picture(), "a.mask.png": picture(mode="L"), f"{folder}/b.JPG": picture(form="JPEG")}
    files |= {f"{folder}/b.alpha.PNG": picture(mode="I;16"), f"{folder}/b.cls": b"7", f"{folder}/.hidden": b""}
    shards = Shards(pack(tmp_path / "x.tar", files, form))
    assert [shards.key(i) for i in range(len(shards))] == ["a", f"{folder}/b"]
    assert [found.image.shape for found in shards] == [(6, 5, 3)] * 2


def test_a_set_may_be_named_by_a_pattern(tmp_path: Path) -> None:
    for number in range(8, 13):
        write_shard([(f"{number}", example(number), {})], tmp_path / f"train-{number:03}.tar")
    found = Shards(f"{tmp_path}/train-{{009..011}}.tar")
    assert [found.key(i) for i in range(len(found))] == ["9", "10", "11"]
    assert [f.name for f in Shards(f"{tmp_path}/train-{{012,008}}.tar").files] == ["train-012.tar", "train-008.tar"]
    with pytest.raises(InputError, match=r"train-013\.tar: no such file; 1 of 2"):
        Shards(f"{tmp_path}/train-{{012..013}}.tar")


def test_a_pickled_set_reads_on(tmp_path: Path) -> None:
    write_shards([(str(i), example(i)) for i in range(3)], tmp_path)
    source = shuffled(Shards(tmp_path), seed=1)
    again = pickle.loads(pickle.dumps(source))
    assert all(same(source(i), again(i)) for i in range(7))


def test_the_index_is_small(tmp_path: Path) -> None:
    tiny = example(size=(1, 1))
    write_shards([(f"{i:08d}", tiny) for i in range(500)], tmp_path)
    assert len(pickle.dumps(Shards(tmp_path))) < 500 * 120


# Faults: each is planted, and the message names the shard and the sample.


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a.png": picture()}, r"x\.tar: a: has no matte, expected \.alpha\.png beside \.png"),
        ({"a.alpha.png": picture(mode="L")}, r"x\.tar: a: has no image, expected \.image\.png"),
        ({"a.png": picture(), "a.jpg": picture()}, r"a: has two of image: \.png and \.jpg"),
        ({"a.png": b"", "a.weights.pkl": b""}, r"a: \.weights\.pkl is a pickle, which can run code"),
        ({"a.pyd": b""}, r"a: \.pyd is a pickle"),
        ({"a.txt": b"", "b": b""}, r"x\.tar: holds no sample"),
    ],
)
def test_a_sample_that_is_not_whole(files: dict[str, bytes], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        Shards(pack(tmp_path / "x.tar", files))


def test_all_bad_samples_are_counted(tmp_path: Path) -> None:
    pack(tmp_path / "x.tar", {f"{i:02}.png": b"" for i in range(13)})
    with pytest.raises(InputError, match="13 faults") as error:
        Shards(tmp_path)
    assert str(error.value).count("has no matte") == 10


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a.png": picture(), "a.alpha.png": picture((5, 6), "L")}, "image 5x6, matte 6x5; expected equal sizes"),
        ({"a.png": b"no image", "a.alpha.png": picture(mode="L")}, "image: not an image"),
        ({"a.png": b"", "a.alpha.png": picture(mode="L")}, "image: not an image"),
        ({"a.png": picture(mode="RGBA"), "a.alpha.png": picture(mode="L")}, "image: found 8-bit RGBA"),
        ({"a.jpg": picture(mode="L", form="JPEG"), "a.alpha.png": picture(mode="L")}, "image: found 8-bit grayscale"),
        ({"a.png": picture(), "a.alpha.png": picture()}, "matte: found 8-bit RGB, expected an 8- or 16-bit"),
    ],
)
def test_a_sample_that_cannot_be_used(files: dict[str, bytes], message: str, tmp_path: Path) -> None:
    shards = Shards(pack(tmp_path / "x.tar", files))
    with pytest.raises(InputError, match=rf"x\.tar: a: {message}"):
        shards[0]


def test_a_key_comes_once(tmp_path: Path) -> None:
    for name in ("x", "y"):
        write_shard([("a", example(), {})], tmp_path / f"{name}.tar")
    with pytest.raises(InputError, match=r"y\.tar: a: comes again; it is in x\.tar already"):
        Shards(tmp_path)


def test_the_files_of_a_sample_stand_together(tmp_path: Path) -> None:
    files = {"a.png": picture(), "b.png": picture(), "a.alpha.png": picture(mode="L")}
    with pytest.raises(InputError, match="a: has no matte") as error:
        Shards(pack(tmp_path / "x.tar", files))
    assert "a: has no image" in str(error.value)


@pytest.mark.parametrize("length", [0, 100, 512, 700, 1024, 3000])
def test_a_truncated_shard(length: int, tmp_path: Path) -> None:
    write_shards([("a", example(size=(40, 40)))], tmp_path)
    shard = tmp_path / "000000.tar"
    shard.write_bytes(shard.read_bytes()[:length])
    with pytest.raises(InputError, match=rf"000000\.tar: truncated at byte {length} "):
        Shards(tmp_path)


def test_a_shard_that_shrinks_after_it_was_opened(tmp_path: Path) -> None:
    write_shards([("a", example(size=(40, 40)))], tmp_path)
    shards = Shards(tmp_path)
    shard = tmp_path / "000000.tar"
    shard.write_bytes(shard.read_bytes()[:1500])
    with pytest.raises(InputError, match="it was changed after it was opened"):
        shards[0]


def test_a_damaged_header_and_what_is_no_tar(tmp_path: Path) -> None:
    write_shards([("a", example())], tmp_path)
    shard = tmp_path / "000000.tar"
    content = bytearray(shard.read_bytes())
    content[1024 + 3] ^= 1  # in the name of the second file, or in the first one's bytes if that grows
    shard.write_bytes(content)
    with pytest.raises(InputError, match="damaged at byte 1024"):
        Shards(tmp_path)
    shard.write_bytes(picture() * 20)
    with pytest.raises(InputError, match="not a tar; expected an uncompressed tar"):
        Shards(tmp_path)
    with tarfile.open(shard, "w:gz") as tar:
        tar.add(__file__, "a.png")
    with pytest.raises(InputError, match="a compressed file; expected an uncompressed tar"):
        Shards(tmp_path)


@settings(max_examples=150, deadline=None)
@given(place=st.integers(0, 2999), value=st.integers(0, 255))
def test_no_changed_byte_crashes_the_reader(place: int, value: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_shards([("a", example()), ("b" * 120, example())], Path(folder))
        shard = Path(folder) / "000000.tar"
        content = bytearray(shard.read_bytes())
        content[place] = value
        shard.write_bytes(content)
        with contextlib.suppress(InputError):
            for found in Shards(folder):
                assert found.alpha.shape == found.image.shape[:2]


def test_links_are_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        link = tarfile.TarInfo("a.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        tar.addfile(link)
    with pytest.raises(InputError, match=r"a\.png is a link"):
        Shards(tmp_path)


# Which kind of set a path is.


def test_a_path_is_opened_as_what_it_is(tmp_path: Path) -> None:
    write_shards([("a", example())], tmp_path / "tars")
    write_png(tmp_path / "own" / "image" / "a.png", np.zeros((4, 4, 3), np.uint8))
    write_png(tmp_path / "own" / "alpha" / "a.png", np.zeros((4, 4), np.uint8))
    assert isinstance(open_examples(tmp_path / "own"), MatteFolder)
    for name in ("tars", "tars/000000.tar", "tars/{000000..000000}.tar"):
        assert isinstance(open_examples(tmp_path / name), Shards)
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.zip").touch()
    for name, found in (("empty", "a folder without these"), ("a.zip", "a file of another kind"), ("no", "nothing")):
        with pytest.raises(InputError, match=f"found {found}; expected a folder with image/ and alpha/"):
            open_examples(tmp_path / name)


# The endless sequence.


def indexed(count: int) -> list[Example]:
    """Return examples that say their number, darker on the left."""
    ramp = np.linspace(0, 0.5, 4, dtype=np.float32)[None].repeat(4, 0)
    image = np.zeros((4, 4, 3), np.uint8)
    image[:, 1:, 1] = 200
    return [Example(image + np.uint8([i, 0, 0]), ramp, ramp, ramp) for i in range(count)]


def test_each_epoch_has_every_example_once_in_another_order() -> None:
    source = shuffled(indexed(20), seed=3)
    orders = [[int(source(i).image[0, 0, 0]) for i in range(e * 20, e * 20 + 20)] for e in range(3)]
    assert all(sorted(order) == list(range(20)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3
    assert [int(source(i).image[0, 0, 0]) for i in range(20, 40)] == orders[1]  # back in an earlier epoch
    other = shuffled(indexed(20), seed=4)
    assert [int(other(i).image[0, 0, 0]) for i in range(20)] != orders[0]


def test_about_half_are_flipped_and_everything_with_them() -> None:
    source = shuffled(indexed(2), seed=0)
    flipped = 0
    for index in range(200):
        found = source(index)
        right = bool(found.image[0, 0, 1])
        flipped += right
        for plane in (found.alpha, found.teacher, found.uncertainty):
            assert plane is not None
            assert (plane[0, 0] > plane[0, 3]) == right
    assert 70 < flipped < 130
    still = shuffled(indexed(2), seed=0, flip=False)
    assert not any(still(i).image[0, 0, 1] for i in range(50))


def test_examples_of_another_size_are_fitted(tmp_path: Path) -> None:
    write_shards([(str(i), example(i, (40 + i, 30), taught=True)) for i in range(2)], tmp_path / "tars")
    write_png(tmp_path / "own" / "image" / "a.png", np.zeros((9, 7, 3), np.uint8))
    write_png(tmp_path / "own" / "alpha" / "a.png", np.full((9, 7), 255, np.uint8))
    for name in ("tars", "own"):
        source = shuffled(open_examples(tmp_path / name), seed=0, size=16)
        assert [source(i).image.shape for i in range(4)] == [(16, 16, 3)] * 4
        assert source(0).alpha.shape == (16, 16)


def test_an_empty_set_cannot_be_shuffled() -> None:
    with pytest.raises(ValueError, match="the set is empty"):
        shuffled([], seed=0)


def test_a_rotation_that_a_jpeg_states_is_applied(tmp_path: Path) -> None:
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (8, 16)).save(stream, "JPEG", exif=exif)
    matte = cv2.imencode(".png", np.zeros((8, 16), np.uint8))[1].tobytes()
    shards = Shards(pack(tmp_path / "x.tar", {"a.jpg": stream.getvalue(), "a.mask.png": matte}))
    assert shards[0].image.shape == (8, 16, 3)
