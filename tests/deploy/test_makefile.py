"""`make clean`: what it removes, and what it must never touch."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.conftest import REPOSITORY
from tests.fixtures.programs import need_program


def test_clean_takes_the_demo_and_leaves_what_a_node_stored_in_its_default_folder(tmp_path: Path) -> None:
    make = need_program("make")
    for name in ("Makefile", "constraints.txt"):
        shutil.copy(REPOSITORY / name, tmp_path)
    kept = [tmp_path / "osteon-data" / name for name in ("registry.sqlite", "store/a.dcm", "weights/site.safetensors")]
    gone = [tmp_path / name for name in (".venv/pyvenv.cfg", "osteon-data/demo/data/registry.sqlite", "out/x")]
    for path in (*kept, *gone):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    subprocess.run([make, "clean"], cwd=tmp_path, check=True, capture_output=True, timeout=60)
    assert all(path.exists() for path in kept)
    assert not any(path.exists() for path in gone)
