"""SPU as a peer: absent, it is said once and nothing is made up; present, it computes what plain integers give."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import peers, rows_mpc

INSTALLED = (peers.ROOT / ".venv-spu" / ".built").exists()


def test_a_missing_spu_is_said_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(peers, "ROOT", tmp_path)
    peers.spu.cache_clear()
    try:
        assert [peers.spu(), peers.spu()] == [None, None]
        assert capsys.readouterr().err.count("SPU is not installed") == 1
    finally:
        peers.spu.cache_clear()


@pytest.mark.skipif(not INSTALLED, reason="make .venv-spu/.built installs SPU")
@pytest.mark.parametrize(
    ("operation", "size"), [("mul", 1000), ("compare", 100), ("matmul", 16), ("median", 20), ("gram", 50)]
)
def test_its_parties_give_the_plain_result(operation: str, size: int) -> None:
    found = peers.spu()
    assert found is not None
    seconds = rows_mpc._spu(found.python, operation, size, 2)  # raises if what was opened is not the plain result
    assert len(seconds) == 2
    assert min(seconds) > 0
