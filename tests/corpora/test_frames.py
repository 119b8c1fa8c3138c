import os
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mer_hf.corpora import AnnotationError
from mer_hf.corpora.frames import Tree, find_frame_root, list_frames, subfolders


def clips_in(*clips):
    """What finds these clips, as `sub01/a`, below a folder."""
    return lambda root: [root / clip for clip in clips if (root / clip).is_dir()]


def root_of(data_dir, clips, path, **options):
    found = find_frame_root(data_dir, path, clips_in(*clips), **options)
    return found and found.folder


def test_the_frame_root_is_the_released_folder_and_else_the_fuller_one(tmp_path):
    clips = ["sub01/a", "sub02/b"]
    for folder in ("Cropped/sub01/a", "Cropped/sub02/b", "copy/sub01/a"):
        (tmp_path / folder).mkdir(parents=True)
    assert root_of(tmp_path, clips, "Raw") == tmp_path / "Cropped"
    assert root_of(tmp_path, clips, "COPY") == tmp_path / "copy"
    (tmp_path / "Raw" / "Raw" / "sub01" / "a").mkdir(parents=True)
    assert root_of(tmp_path, clips, "Raw") == tmp_path / "Raw" / "Raw"
    assert root_of(tmp_path / "Cropped", clips, "Raw") == tmp_path / "Cropped"
    assert root_of(tmp_path, ["sub03/c"], "Raw") is None


def test_a_path_of_several_folders_is_followed_as_far_as_it_goes(tmp_path):
    for folder in ("cropped/HS/s1/a", "raw/HS/s1/a", "raw/VIS/s1/a"):
        (tmp_path / folder).mkdir(parents=True)
    assert root_of(tmp_path, ["s1/a"], "raw/VIS") == tmp_path / "raw" / "VIS"
    assert root_of(tmp_path, ["s1/a"], "cropped/HS") == tmp_path / "cropped" / "HS"
    assert root_of(tmp_path / "raw" / "HS", ["s1/a"], "raw/VIS") == tmp_path / "raw" / "HS"
    assert root_of(tmp_path / "raw" / "HS", ["s1/a"], "raw/VIS", by_name_only=True) is None
    assert root_of(tmp_path / "raw" / "VIS", ["s1/a"], "raw/VIS", by_name_only=True) == tmp_path / "raw" / "VIS"


def test_own_results_beside_the_release_are_not_taken_for_it(tmp_path):
    for folder in ("sub01/a", "Raw/sub01/a"):
        (tmp_path / folder).mkdir(parents=True)
    assert root_of(tmp_path, ["sub01/a"], "Raw") == tmp_path / "Raw"


def test_deep_folders_are_looked_at_only_where_nothing_is_above(tmp_path):
    deep = tmp_path / "1" / "2" / "3" / "4" / "5"
    (deep / "sub01" / "a").mkdir(parents=True)
    assert root_of(tmp_path, ["sub01/a"], "Raw") == deep
    (tmp_path / "6" / "sub01" / "a").mkdir(parents=True)
    assert root_of(tmp_path, ["sub01/a"], "Raw") == tmp_path / "6"


def test_shadow_trees_are_passed_over(tmp_path):
    for folder in ("__MACOSX/Raw/sub01/a", ".Trash/sub01/a"):
        (tmp_path / folder).mkdir(parents=True)
    assert root_of(tmp_path, ["sub01/a"], "Raw") is None


def test_folders_that_may_not_be_read_are_passed_over(tmp_path, monkeypatch):
    for folder in ("lost+found", "sub01/a"):
        (tmp_path / folder).mkdir(parents=True)

    def scandir(folder):
        if folder == tmp_path / "lost+found":
            raise PermissionError(folder)
        return os_scandir(folder)

    os_scandir = os.scandir
    monkeypatch.setattr(os, "scandir", scandir)
    assert root_of(tmp_path, ["sub01/a"], "Raw") == tmp_path


def test_a_link_to_itself_is_no_folder(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "folder").mkdir()
    assert subfolders(tmp_path) == ["folder"]


def test_a_pattern_finds_folders_level_by_level(tmp_path):
    for folder in ("s15/15_0101disgustingteeth", "s15/15_0102x", "s16/15_0101y", "S15/15_0101z"):
        (tmp_path / folder).mkdir(parents=True)
    tree = Tree(tmp_path)
    assert tree.find(tmp_path, "s15/15_0101*") == [tmp_path / "s15" / "15_0101disgustingteeth"]
    assert tree.find(tmp_path, "s17/15_0101*") == []
    assert tree.find(tmp_path, "s15/[*]") == []


def test_case_counts_only_where_a_folder_fits_exactly(tmp_path):
    for folder in ("spNo.1/a", "spNO.2/a", "spNo.2/a"):
        (tmp_path / folder).mkdir(parents=True)
    tree = Tree(tmp_path)
    assert tree.find(tmp_path, "spNO.1/A") == [tmp_path / "spNo.1" / "a"]
    assert tree.find(tmp_path, "spNO.2/a") == [tmp_path / "spNO.2" / "a"]
    assert len(tree.find(tmp_path, "SPNO.2/a")) == 2


def test_a_pattern_with_fields_tells_what_stands_for_them(tmp_path):
    for folder in ("s1/micro/negative/s1_ne_01", "s1/non_micro/x/y", "sx/micro/negative/sx_ne_01", "S20/micro/po/a"):
        (tmp_path / folder).mkdir(parents=True)
    matched = Tree(tmp_path).match(tmp_path, "s{number}/micro/{emotion}/{name}")
    assert [fields for _, fields in matched] == [
        {"number": "20", "emotion": "po", "name": "a"},
        {"number": "1", "emotion": "negative", "name": "s1_ne_01"},
    ]


@given(st.sets(st.integers(0, 10**8), min_size=1, max_size=12), st.integers(0, 8), st.sampled_from(["img", "EP01_12-"]))
def test_frames_come_in_the_order_of_their_last_integer_whatever_the_padding(
    tmp_path_factory, numbers, padding, prefix
):
    folder = tmp_path_factory.mktemp("clip")
    for number in numbers:
        (folder / f"{prefix}{number:0{padding}d}.jpg").touch()
    frames = list_frames(folder)
    assert [frame.number for frame in frames] == sorted(numbers)
    assert [frame.path for frame in frames] == [
        str(folder / f"{prefix}{number:0{padding}d}.jpg") for number in sorted(numbers)
    ]


def test_only_images_are_frames(tmp_path):
    for name in ("1.jpg", "2.JPG", "3.bmp", "4.png", "5.jpeg", "Thumbs.db", "._6.jpg", "7.txt", "cover.jpg", "8.lnk"):
        (tmp_path / name).touch()
    (tmp_path / "9.jpg").symlink_to("not fetched")
    (tmp_path / "10.jpg").mkdir()
    assert [frame.number for frame in list_frames(tmp_path)] == [1, 2, 3, 4, 5]


def test_two_images_for_one_frame_are_refused(tmp_path):
    for name in ("img46.jpg", "reg_img46.jpg", "img47.jpg"):
        (tmp_path / name).touch()
    with pytest.raises(AnnotationError, match=r"two images for the frame 46: img46.jpg and reg_img46.jpg"):
        list_frames(tmp_path)


def test_a_clip_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(AnnotationError, match=rf"{tmp_path / 'none'} cannot be read: No such file"):
        list_frames(tmp_path / "none")


@pytest.mark.skipif(sys.platform == "darwin", reason="its file system takes no such names")
def test_a_name_that_is_no_unicode_is_refused(tmp_path):
    clip = tmp_path / os.fsdecode(b"clip \xff")
    clip.mkdir()
    with pytest.raises(AnnotationError, match="is a name in no Unicode"):
        list_frames(clip)
    (tmp_path / os.fsdecode(b"img\xff1.jpg")).touch()
    with pytest.raises(AnnotationError, match="is a name in no Unicode"):
        list_frames(tmp_path)
