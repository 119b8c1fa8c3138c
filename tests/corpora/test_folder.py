import av
import numpy as np
import pytest

from mer_hf.corpora import AnnotationError, CorpusNotFoundError
from mer_hf.corpora.folder import load_folder
from mer_hf.errors import MerHfError
from mer_hf.rcn.video_processing_rcn import RcnVideoProcessor
from mer_hf.training.clips import load_clips

HEADER = "file_name,label,subject,onset,apex,offset"


@pytest.fixture
def folder(tmp_path):
    """A folder with the videos `anna/first.mp4` and `second.mp4`, of no content."""
    videos = tmp_path / "videos"
    (videos / "anna").mkdir(parents=True)
    for name in ("anna/first.mp4", "second.mp4"):
        (videos / name).write_bytes(b"video")
    return videos


@pytest.fixture
def load(folder, tmp_path):
    """Load the folder with a table of these lines."""

    def load(*lines, header=HEADER, **options):
        (folder / "metadata.csv").write_text("\n".join([header, *lines]), encoding="utf-8")
        return load_folder(folder, cache_dir=tmp_path / "cache", **options)

    return load


def test_a_line_becomes_a_clip(load, folder):
    clips = load("anna/first.mp4, Happiness ,01,46,59,119", "second.mp4,disgust,2,,/,")
    assert clips.to_list() == [
        {
            "clip_id": "dataset/anna/first.mp4@46",
            "corpus": "dataset",
            "subject": "1",
            "video": str(folder / "anna" / "first.mp4"),
            "unit": "frames",
            "fps": None,
            "onset": 46.0,
            "apex": 59.0,
            "offset": 119.0,
            "emotion": "happiness",
            "action_units": "",
            "label": 1,
        },
        {
            "clip_id": "dataset/second.mp4",
            "corpus": "dataset",
            "subject": "2",
            "video": str(folder / "second.mp4"),
            "unit": "frames",
            "fps": None,
            "onset": None,
            "apex": None,
            "offset": None,
            "emotion": "disgust",
            "action_units": "",
            "label": 0,
        },
    ]
    assert clips.features["label"].names == ["disgust", "happiness"]


def test_further_columns_are_read_where_they_are_and_others_left_alone(load):
    header = "label,subject,file_name,corpus,clip_id,fps,action_units,notes"
    clips = load(
        'anger,7,anna/first.mp4,ours,clip one,200,4+7,"a, note"', "anger,ours/7,second.mp4,ours,,,,", header=header
    )
    first, second = clips.to_list()
    assert (first["clip_id"], first["corpus"], first["subject"]) == ("clip one", "ours", "ours/7")
    assert (first["fps"], first["action_units"]) == (200.0, "4+7")
    assert (second["clip_id"], second["subject"], second["fps"]) == ("ours/second.mp4", "ours/7", None)
    assert "notes" not in clips.column_names


def test_a_table_as_excel_saves_it_is_read(load, folder):
    (folder / "metadata.csv").write_bytes(f"{HEADER}\r\nsecond.mp4,joy,Zoë,1,2,9\r\n,,,,,\r\n".encode("utf-8-sig"))
    assert load_folder(folder, cache_dir=folder.parent / "cache")["subject"] == ["Zoë"]


# --- frames or seconds ---


@pytest.mark.parametrize(
    ("times", "unit"),
    [
        ("46,59,119", "frames"),
        ("46.0,59.0,119.0", "frames"),
        ("0,,2", "frames"),
        (",,", "frames"),
        ("0.46,0.59,1.19", "seconds"),
        ("1,1.24,2", "seconds"),
    ],
)
def test_numbers_are_frames_unless_one_has_a_fraction(load, times, unit):
    clips = load(f"second.mp4,joy,1,{times}", "anna/first.mp4,joy,1,10,20,30")
    assert clips["unit"] == [unit, unit]


def test_whole_numbers_that_may_be_seconds_as_well_are_refused_until_it_is_said(load):
    lines = "anna/first.mp4,joy,1,10,20,30", "second.mp4,joy,1,12,,13"
    message = r"metadata.csv, line 3: onset 12 and offset 13 are a clip of 2 frames, or of 1 seconds.*unit='frames' or"
    with pytest.raises(AnnotationError, match=message):
        load(*lines)
    for unit in ("frames", "seconds"):
        assert set(load(*lines, unit=unit)["unit"]) == {unit}


def test_a_fraction_of_a_frame_is_refused(load):
    with pytest.raises(AnnotationError, match="fraction, which cannot be frames; say unit='seconds'"):
        load("second.mp4,joy,1,1.2,1.3,1.5", unit="frames")


# --- what is refused ---


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("gone.mp4,joy,1,1,2,9", "line 2: file_name 'gone.mp4': no file is at .*videos/gone.mp4"),
        ("anna,joy,1,1,2,9", "line 2: file_name 'anna': a folder is at"),
        (",joy,1,1,2,9", "line 2: file_name '' is no name"),
        ("../outside.mp4,joy,1,1,2,9", "line 2: file_name '../outside.mp4' leads out of the folder"),
        ("/etc/hostname,joy,1,1,2,9", "line 2: file_name '/etc/hostname' leads out of the folder"),
        ("link.mp4,joy,1,1,2,9", "line 2: file_name 'link.mp4' leads out of the folder, to .*outside.mp4"),
        ("empty.mp4,joy,1,1,2,9", "line 2: file_name 'empty.mp4' is an empty file"),
        ("second.mp4,,1,1,2,9", "line 2: the label is empty"),
        ("second.mp4,joy,,1,2,9", "line 2: the subject '' is no name"),
        ("second.mp4,joy,1,first,2,9", "line 2: the onset 'first' is no number"),
        ("second.mp4,joy,1,-1,2,9", "line 2: the onset '-1' is no number"),
        ("second.mp4,joy,1,1e3,2,9", "line 2: the onset '1e3' is no number"),
        ("second.mp4,joy,1,9,2,1", "line 2: onset, apex and offset are 9, 2, 1: out of order"),
        ("second.mp4,joy,1,1,12,9", "line 2: onset, apex and offset are 1, 12, 9: out of order"),
        ("second.mp4,joy,1,4,4,4", "line 2: onset, apex and offset are 4, 4, 4: out of order"),
        ("second.mp4,joy,1,1,2,", "line 2: a clip has both an onset and an offset, or neither"),
        ("second.mp4,joy,1,1,2", "line 2: it has more or fewer cells"),
        ("second.mp4,joy,1,1,2,9,more", "line 2: it has more or fewer cells"),
        ('second.mp4,"joy', "cannot be read as a table"),
    ],
)
def test_a_wrong_line_is_named_with_what_is_wrong(load, folder, line, message):
    (folder.parent / "outside.mp4").write_bytes(b"video")
    (folder / "link.mp4").symlink_to(folder.parent / "outside.mp4")
    (folder / "empty.mp4").touch()
    with pytest.raises(AnnotationError, match=f"(?s)metadata.csv.*{message}"):
        load(line)


def test_all_wrong_lines_are_told_at_once_and_a_clip_that_stands_twice(load):
    good = "second.mp4,joy,1,1,2,9"
    with pytest.raises(AnnotationError) as refused:
        load(good, "gone.mp4,joy,1,1,2,9", good, "second.mp4,joy,1,9,2,1")
    lines = str(refused.value).splitlines()
    assert lines[0].endswith("metadata.csv: 3 problems:")
    assert [line.split(":")[0].strip() for line in lines[1:]] == ["line 3", "line 5", "line 4"]
    assert "'dataset/second.mp4@1' stands in line 2 as well" in lines[3]


@pytest.mark.parametrize(
    ("header", "lines", "message"),
    [
        ("file_name;label;subject", ["a;b;c"], "lacks the columns file_name, label, subject; it has file_name;label"),
        (HEADER, [], "no clip below them"),
        ("", [], "lacks the columns"),
    ],
)
def test_a_table_that_is_none_is_refused(load, header, lines, message):
    with pytest.raises(AnnotationError, match=message):
        load(*lines, header=header)


def test_a_table_in_another_encoding_is_refused_by_its_name(folder):
    (folder / "metadata.csv").write_bytes(f"{HEADER}\nsecond.mp4,joy,Zoë,1,2,9".encode("latin-1"))
    with pytest.raises(AnnotationError, match=r"metadata.csv cannot be read as a table of text in UTF-8"):
        load_folder(folder)


def test_a_folder_without_a_table_says_what_is_expected(tmp_path):
    with pytest.raises(CorpusNotFoundError, match=r"metadata.csv is not there.*file_name, label, subject"):
        load_folder(tmp_path)


@pytest.mark.parametrize(
    ("option", "message"), [({"label_set": "5class"}, "native, 3class and any"), ({"unit": "ms"}, "'ms'")]
)
def test_other_arguments_are_named(load, option, message):
    with pytest.raises(MerHfError, match=message):
        load("second.mp4,joy,1,1,2,9", **option)


# --- classes, cache, and on to training ---


def test_in_three_classes_labels_are_emotions_and_others_are_left_out(load, caplog):
    lines = "second.mp4,Happiness,1,1,2,9", "anna/first.mp4,fear,1,1,2,9", "second.mp4,puzzled,2,30,31,39"
    clips = load(*lines, label_set="3class")
    assert clips.features["label"].names == ["negative", "positive", "surprise"]
    assert clips["label"] == [1, 0]
    assert "left out, without a class in '3class': puzzled 1" in caplog.text
    with pytest.raises(AnnotationError, match="no label has a class in '3class'; choose label_set='native'"):
        load(lines[2], label_set="3class")


def test_a_changed_video_or_table_is_read_anew_and_the_same_ones_are_not(load, folder):
    line = "second.mp4,joy,1,1,2,9"
    first, again = load(line), load(line)
    assert first.cache_files == again.cache_files
    (folder / "second.mp4").write_bytes(b"another video")
    changed = load(line)
    assert changed.cache_files != first.cache_files
    assert load("second.mp4,joy,1,1,3,9").cache_files != changed.cache_files


def test_clips_of_a_folder_become_clips_in_memory(load, folder):
    with av.open(str(folder / "moving.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=50)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv444p"
        for number in range(30):
            frame = np.full((32, 48, 3), 60, np.uint8)
            frame[8:24, 8 + number : 20 + number] = 200
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    clips = load("moving.mkv,joy,1,0.1,0.16,0.3", "moving.mkv,disgust,2,0.2,,0.4")
    processor = RcnVideoProcessor(connectivity="geometric", align="none", size={"height": 16, "width": 16})
    made = load_clips(clips, processor)
    assert [clip.label for clip in made] == [1, 0]
    u = made[0].apex_motion[0]
    assert u.max() > 1  # three frames of a pixel each, to the right
