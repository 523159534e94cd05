"""Storage keys cannot leave the store; files move in whole and go without a trace."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.errors import PermanentError
from node.storage import LocalStorage, check_key, instance_key, is_valid_uid, result_key
from node.storage.spool import instance_name, parse_instance_name

HOSTILE = ["", "/etc/passwd", "../x", "a/../../b", "a//b", "a/./b", ".hidden", "a\x00b", "a/b\n", "~root/x", "a\\..\\b"]


@pytest.mark.parametrize("key", HOSTILE)
def test_a_key_that_could_leave_the_store_is_refused(key: str, tmp_path: Path) -> None:
    with pytest.raises(PermanentError):
        LocalStorage(tmp_path).exists(key)


@pytest.mark.parametrize("uid", ["", "1..2", ".1", "1.", "1.2/3", "1.2.x", "1" * 65, "1.2\n", " 1.2"])
def test_what_is_no_uid_builds_no_key(uid: str) -> None:
    assert not is_valid_uid(uid)
    with pytest.raises(PermanentError, match="not a valid UID"):
        instance_key("1.2", "1.3", uid, 1)


@given(st.text(max_size=80))
def test_every_key_that_passes_stays_below_the_store(text: str) -> None:
    root = Path("/store")
    try:
        key = check_key(text)
    except PermanentError:
        return
    assert ".." not in Path(key).parts
    assert (root / key).is_relative_to(root)


def test_an_adopted_file_is_in_the_store_and_no_longer_at_its_source(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "data")
    source = tmp_path / "arrived"
    source.write_bytes(b"bytes")
    key = instance_key("1.2", "1.2.3", "1.2.3.4", 1)
    storage.adopt(source, key)
    assert not source.exists()
    with storage.local_path(key) as path:
        assert path.read_bytes() == b"bytes"


def test_every_new_name_on_the_way_to_an_adopted_file_is_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    real_sync = os.fsync

    def sync(handle: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{handle}").readlink()))
        real_sync(handle)

    monkeypatch.setattr(os, "fsync", sync)
    storage = LocalStorage(tmp_path / "data")
    (tmp_path / "x").write_bytes(b"x")
    storage.adopt(tmp_path / "x", instance_key("1.2", "1.3", "1.9", 1))
    below = ["", "data", "data/store", "data/store/received", "data/store/received/1.2", "data/store/received/1.2/1.3"]
    assert [Path(path) for path in synced] == [tmp_path / name for name in below]
    synced.clear()
    (tmp_path / "x").write_bytes(b"x")
    storage.adopt(tmp_path / "x", instance_key("1.2", "1.3", "1.10", 1))
    assert [Path(path) for path in synced] == [tmp_path / below[-1]]


def test_deleting_removes_the_empty_folders_and_nothing_else(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    keys = [instance_key("1.2", series, "1.9", 1) for series in ("1.3", "1.4")]
    for key in keys:
        (tmp_path / "x").write_bytes(b"x")
        storage.adopt(tmp_path / "x", key)
    storage.delete(keys[0])
    storage.delete(keys[0])
    assert storage.exists(keys[1])
    assert not (tmp_path / "store/received/1.2/1.3").exists()
    storage.delete(keys[1])
    assert not (tmp_path / "store/received/1.2").exists()
    assert (tmp_path / "store").is_dir()


def test_a_missing_key_says_so(tmp_path: Path) -> None:
    with (
        pytest.raises(FileNotFoundError, match=r"no 'results/k/r1/1\.2\.seg\.dcm'"),
        LocalStorage(tmp_path).local_path(result_key("k", 1, "1.2.seg.dcm")),
    ):
        pass


def test_inbox_names_read_back_as_written() -> None:
    entry = parse_instance_name(Path("/inbox") / instance_name("1.2.840.1", "a1b2c3", 7))
    assert entry is not None
    assert (entry.sop_instance_uid, entry.association, entry.number) == ("1.2.840.1", "a1b2c3", 7)
    assert parse_instance_name(Path("x.assoc")) is None
    assert parse_instance_name(Path("x~a~1.dcm")) is None
