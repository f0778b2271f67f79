"""The broker's data folder is formatted whatever its cluster id looks like."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from infra.local.kafka import Kafka, cluster_id

DASHED = uuid.UUID(int=0xF8 << 120)


@pytest.mark.parts
def test_a_cluster_id_that_begins_with_a_dash_is_no_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One id in 64 does, and then the first start of a fresh clone failed.
    assert cluster_id(DASHED).startswith("-")
    monkeypatch.setattr(uuid, "uuid4", lambda: DASHED)
    (tmp_path / "kafka").mkdir()
    part = Kafka(port=1, controller_port=2, folder=tmp_path / "kafka", log_dir=tmp_path)
    part.prepare()
    formatted = (tmp_path / "kafka" / "data" / "meta.properties").read_text(encoding="utf-8")
    assert f"cluster.id={cluster_id(DASHED)}" in formatted
