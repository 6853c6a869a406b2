"""Videos that are called by a key here and by a whole name there are found, and no other is taken for them."""

from __future__ import annotations

from jomold_dist.video_names import Names


def test_a_video_is_found_by_its_key_or_by_its_whole_name() -> None:
    names = Names(["-abcdefghij_30_40", "bbbbbbbbbbb", "ccccccccccc_5"])
    assert names.find("-abcdefghij_30_40") == "-abcdefghij_30_40"
    assert names.find("-abcdefghij") == "-abcdefghij_30_40"
    assert names.find("bbbbbbbbbbb_0_10") == "bbbbbbbbbbb"
    assert names.find("ccccccccccc") == "ccccccccccc_5"
    assert names.find("ddddddddddd") is None
    assert names.find("-abcdefghij_50_60") is None  # another clip of the video


def test_a_key_that_could_be_several_is_none() -> None:
    names = Names(["clip_0001", "clip_0002", "aaaaaaaaaaa_0_10", "aaaaaaaaaaa_10_20"])
    assert names.find("clip_0002") == "clip_0002"
    assert names.find("clip_0003") is None
    assert names.find("clip") is None
    assert names.find("aaaaaaaaaaa") is None
