"""What a set says of itself: records are found beside shards, and unfinished sets are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgemat.data.records import ANNOTATED, RENDERED, expect_complete, read_record
from edgemat.data.shards import open_examples, write_shards
from edgemat.data.types import Example
from edgemat.errors import InputError


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    plain = Example(np.zeros((8, 8, 3), np.uint8), np.ones((8, 8), np.float32))
    write_shards([("anna", plain), ("ben", plain)], tmp_path, per_shard=1)
    return tmp_path


def test_a_record_is_found_from_the_folder_and_from_its_shards(shards: Path) -> None:
    (shards / RENDERED).write_text('{"complete": true, "shards": 2}')
    for path in (shards, shards / "000000.tar", shards / "{000000..000001}.tar"):
        assert read_record(path, RENDERED) == {"complete": True, "shards": 2}
        assert read_record(path, ANNOTATED) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "3"])
def test_a_broken_record_is_refused(text: str, shards: Path) -> None:
    (shards / RENDERED).write_text(text)
    with pytest.raises(InputError, match=r"render\.json"):
        read_record(shards, RENDERED)


@pytest.mark.parametrize(("name", "maker"), [(RENDERED, "render"), (ANNOTATED, "annotate")])
def test_an_unfinished_set_is_refused_with_the_way_to_finish_it(name: str, maker: str, shards: Path) -> None:
    (shards / name).write_text('{"complete": false}')
    with pytest.raises(InputError, match=rf"not complete, says its {name}; .*edgemat data {maker} \.\.\. --out"):
        open_examples(shards)
    assert len(open_examples(shards / "000000.tar")) == 1  # a single shard is whole
    (shards / name).write_text('{"complete": true}')
    assert len(open_examples(shards)) == 2


def test_a_set_without_records_is_taken_as_it_is(shards: Path) -> None:
    expect_complete(shards)
    expect_complete(shards / "000000.tar")
    assert len(open_examples(shards)) == 2
