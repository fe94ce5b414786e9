"""What a page for everyone may hold: no setting that names a place, whatever it looks like."""

import pytest

from fedsurg.report.redaction import setting_without_place, without_paths


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ('synthetic.backgrounds="Station3_Mueller"', "synthetic.backgrounds=(withheld)"),
        ("synthetic.instruments = 'cut outs'", "synthetic.instruments=(withheld)"),
        ("local.steps = 2 # /home/ward/mueller", "local.steps=2"),
        ("sharing = {query = 'shared'}", 'sharing={"query" = "shared"}'),
        ('server.pretrain.start="ward.safetensors"', "server.pretrain.start=(withheld)"),
        ('server.pretrain.start="shipped"', 'server.pretrain.start="shipped"'),
        ('network.encoder_weights="/data/pvt.pth"', "network.encoder_weights=(withheld)"),
        ('sites=[{name="a", folder="Mueller"}]', "sites=(withheld)"),
        ("task.image_size=[192, 240]", "task.image_size=[192, 240]"),
        ('local.schedule="cosine"', 'local.schedule="cosine"'),
    ],
)
def test_a_setting_of_the_command_line(word: str, shown: str) -> None:
    assert setting_without_place(word) == shown


def test_settings_of_a_study() -> None:
    study = {
        "synthetic": {"backgrounds": "Station3_Mueller", "instruments": "", "clips": 3},
        "server": {"pretrain": {"start": "shipped"}},
        "sites": [{"name": "a", "folder": "Mueller"}, {"name": "../b"}],
    }
    assert without_paths(study) == {
        "synthetic": {"backgrounds": "(withheld)", "instruments": "", "clips": 3},
        "server": {"pretrain": {"start": "shipped"}},
        "sites": [{"name": "a"}, {"name": "(withheld)"}],
    }
