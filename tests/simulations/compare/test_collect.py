import json
from math import isnan
from pathlib import Path

from simulations.compare.collect import _costs


def test_where_all_data_is_pooled_no_site_sends_anything(tmp_path: Path) -> None:
    line = {"round": 1, "bytes_in": 2000, "bytes_out": 1000, "seconds": {"train": 2.0}, "refused": {"north": "late"}}
    (tmp_path / "history.jsonl").write_text(json.dumps(line) + "\n")
    federated, pooled = (_costs(tmp_path / "history.jsonl", pooled=pooled) for pooled in (False, True))
    assert (federated["bytes_sent"], federated["bytes_received"], federated["refused"]) == (2000, 1000, 1)
    assert isnan(pooled["bytes_sent"]) and isnan(pooled["bytes_received"])
    assert pooled["seconds_per_round"] == federated["seconds_per_round"] == 2.0
