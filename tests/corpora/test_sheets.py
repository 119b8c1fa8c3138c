import datetime
import logging
import zipfile
from pathlib import Path

import openpyxl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_corpus import COLUMNS, HEADER, ROWS, Toy, write_book, write_sheet

from mer_hf.corpora import CORPORA, AnnotationError
from mer_hf.corpora.casme import Casme
from mer_hf.corpora.casme2 import Casme2
from mer_hf.corpora.sheets import (
    CORRECTIONS,
    Columns,
    Correction,
    Lookup,
    correct,
    find_sheet,
    parse_annotation,
    read_corrections,
    read_pages,
    read_sheet,
)


def test_the_newest_sheet_wins_whatever_its_place_or_case(tmp_path):
    write_sheet(tmp_path / "X-coding-20140508.xlsx")
    newest = write_sheet(tmp_path / "sheets" / "x-CODING-20190701 (1).XLSX")
    write_sheet(tmp_path / "~$X-coding-20240101.xlsx")
    write_sheet(tmp_path / ".X-coding-20240101.xlsx")
    write_sheet(tmp_path / "other-20240101.xlsx")
    (tmp_path / "X-coding-20250101.xlsx").mkdir()
    assert find_sheet(tmp_path, ("X-coding-*.xls", "X-coding-*.xlsx")) == newest


def test_a_sheet_above_the_folder_is_found_only_where_none_is_below(tmp_path):
    above = write_sheet(tmp_path / "a" / "X-2019.xlsx")
    inner = tmp_path / "a" / "b" / "c"
    inner.mkdir(parents=True)
    assert find_sheet(inner, ("X-*",)) == above
    below = write_sheet(inner / "X-2014.xlsx")
    assert find_sheet(inner, ("X-*",)) == below


def test_a_sheet_is_read_by_column_names_on_any_page_below_any_title(tmp_path):
    header = ["notes", None, *(name.upper().replace(" ", "  ") for name in reversed(HEADER))]
    codes = [["Toys"], [], header, ["a note", None, " Anger ", "4+7", "103", 101.0, "98.0", "a", "6.0"]]
    codes += [[None] * 9, ["the end", *[None] * 8]]
    sheet = write_book(tmp_path / "sheet.xlsx", {"notes": [["a page of notes"]], "codes": codes})
    assert read_sheet(sheet, COLUMNS) == [
        {
            "subject": "6",
            "name": "a",
            "onset": "98",
            "apex": "101",
            "offset": "103",
            "action_units": "4+7",
            "emotion": "Anger",
            "kind": "",
        }
    ]


def names(records):
    return [record["name"] for record in records]


def test_the_named_page_is_read_where_several_have_the_columns(tmp_path):
    pages = {"ALL": [HEADER, *ROWS], "MICRO": [["a title"], HEADER, ROWS[0]]}
    sheet = write_book(tmp_path / "sheet.xlsx", pages)
    assert len(read_sheet(sheet, COLUMNS)) == 3
    assert len(read_sheet(sheet, COLUMNS, page="MICRO")) == 1
    assert len(read_sheet(sheet, COLUMNS, page="RENAMED")) == 3


def test_columns_that_the_sheet_does_not_have_are_blank(tmp_path):
    sheet = write_sheet(tmp_path / "sheet.xlsx", HEADER, ROWS[0])
    (record,) = read_sheet(sheet, COLUMNS._replace(apex=None, action_units=None))
    assert (record["apex"], record["action_units"], record["emotion"]) == ("", "", "Anger")


def test_further_clips_of_a_row_are_clips_of_their_own(tmp_path):
    header = [*HEADER, "Onset2F", "Offset2F", "Onset3F", "Offset3F"]
    rows = [[*ROWS[0], 10, 20, 30, 40], [*ROWS[1], 50, 60, None, None], [*ROWS[2], "-", "-", "/", None]]
    sheet = write_sheet(tmp_path / "sheet.xlsx", header, *rows)
    more = (("Onset2F", "Offset2F"), ("Onset3F", "Offset3F"), ("Onset4F", "Offset4F"))
    records = read_sheet(sheet, COLUMNS, more_clips=more)
    spans = [(record["name"], record["onset"], record["apex"], record["offset"]) for record in records]
    assert spans == [
        *(("006_1_2", "5562", "5563", "5564"), ("006_1_2", "10", "", "20"), ("006_1_2", "30", "", "40")),
        *(("007_3_1", "98", "99", "101"), ("007_3_1", "50", "", "60"), ("007_3_1", "9", "10", "12")),
    ]
    assert {record["emotion"] for record in records[:3]} == {"Anger"}


BY_PLACE = Columns(subject=0, name=1, onset=2, apex=3, offset=4, action_units=None, emotion=5)
LOOKUPS = (
    Lookup("rule 1", cell="subject", part=r"(\d+)", key=2, value=0, field="participant"),
    Lookup("rule 2", cell="name", part=r"(.+)_\d+", key=1, value=0, field="recording"),
)


def test_a_sheet_without_a_header_is_the_first_page_that_is_wide_enough(tmp_path):
    rows = [(1, "disgust1_1", 3, 4, 5, "negative"), (2, "anger1_12", "6", 7, 8, "others")]
    sheet = write_book(tmp_path / "sheet.xlsx", {"rule": [(15, "s15", 1)], "codes": rows, "wide": [range(9)]})
    records = read_sheet(sheet, BY_PLACE)
    assert names(records) == ["disgust1_1", "anger1_12"]
    assert records[1]["onset"] == "6"
    with pytest.raises(AnnotationError, match="no page with 10 columns"):
        read_sheet(sheet, BY_PLACE._replace(emotion=9))


def test_cells_are_looked_up_on_other_pages(tmp_path):
    rows = [(1, "disgust1_1", 3, 4, 5, "negative"), (2, "Anger1_12", 6, 7, 8, "others"), (3, "odd", 6, 7, 8, "others")]
    pages = {
        "codes": rows,
        "RULE  1": [(15, "s15", 1), (16, "s16", 2)],
        "rule 2": [("0101", "disgust1"), (401, "anger1")],
    }
    sheet = write_book(tmp_path / "sheet.xlsx", pages)
    records = read_sheet(sheet, BY_PLACE, lookups=LOOKUPS)
    found = [(record["participant"], record["recording"]) for record in records]
    assert found == [("15", "0101"), ("16", "401"), ("", "")]


def test_a_page_that_is_missing_is_named_beside_those_there_are(tmp_path):
    sheet = write_book(tmp_path / "sheet.xlsx", {"codes": [(1, "disgust1_1", 3, 4, 5, "negative")], "rule 1": []})
    with pytest.raises(AnnotationError, match="lacks the page 'rule 2'; it has codes, rule 1"):
        read_sheet(sheet, BY_PLACE, lookups=LOOKUPS)


def test_a_sheet_of_the_old_format_is_read():
    records = read_sheet(Path(__file__).with_name("CASME-coded-20190721.xls"), Casme.layouts[0].columns)
    assert [(record["subject"], record["name"], record["onset"], record["apex"]) for record in records] == [
        ("1", "EP01_12", "73", "81"),
        ("7", "EP17_2", "19", "23"),
    ]


@pytest.mark.parametrize("old_format", [False, True])
def test_a_damaged_sheet_whose_cells_lie_too_far_apart_is_refused_before_they_are_held(tmp_path, old_format):
    if old_format:  # the last row is before the first
        content = Path(__file__).with_name("CASME-coded-20190721.xls").read_bytes()
        place = content.index(b"\x00\x02\x0e\x00")
        content = content[: place + 5] + b"\xff" + content[place + 6 :]
        (tmp_path / "sheet").write_bytes(content)
    else:
        book = openpyxl.Workbook()
        book.active["XFD1048576"] = "far"
        book.save(tmp_path / "sheet")
    with pytest.raises(AnnotationError, match=r"sheet cannot be read.*room for [0-9]+ cells; at most 20000000"):
        read_sheet(tmp_path / "sheet", COLUMNS)


def test_numbers_dates_and_text_of_a_cell_are_the_text_that_a_reader_sees(tmp_path):
    cells = {1: "1", 46.0: "46", "46.00": "46", 1.5: "1.5", 123456789012: "123456789012", "=1+2": ""}
    cells |= {" 4+7 ": "4+7", "007": "007", datetime.date(2019, 7, 4): "2019-07-04", "\t": "", "end": "end"}
    sheet = write_sheet(tmp_path / "sheet.xlsx", list(cells))
    assert read_pages(sheet)["Sheet1"] == [list(cells.values())]  # nothing has computed the formula


def test_a_chart_is_no_page(tmp_path):
    book = openpyxl.Workbook()
    book.active.append(["a"])
    book.create_chartsheet("chart").add_chart(openpyxl.chart.BarChart())
    book.save(tmp_path / "sheet.xlsx")
    assert read_pages(tmp_path / "sheet.xlsx") == {"Sheet": [["a"]]}


def test_a_subject_that_is_merged_over_rows_stands_in_each_of_them(tmp_path):
    book = openpyxl.Workbook()
    page = book.active
    page.append(["a title over all columns"])
    page.append(HEADER)
    for row in (ROWS[1], (None, *ROWS[2][1:]), (None,) * 7, ROWS[0]):
        page.append(row)
    page.merge_cells("A1:G1")
    page.merge_cells("A3:A5")  # the last of them has no clip
    book.save(tmp_path / "sheet.xlsx")
    records = read_sheet(tmp_path / "sheet.xlsx", COLUMNS)
    assert [(record["subject"], record["onset"]) for record in records] == [
        ("007", "98"),
        ("007", "9"),
        ("006", "5562"),
    ]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short", b"<html>please log in</html>"])
def test_a_sheet_that_is_no_spreadsheet_is_refused_by_its_name(tmp_path, content):
    broken = tmp_path / "sheet.xlsx"
    broken.write_bytes(content)
    with pytest.raises(AnnotationError, match=rf"{broken} cannot be read as a spreadsheet"):
        read_sheet(broken, COLUMNS)


RECORD = {
    "subject": "sub07",
    "name": "a",
    "onset": "1",
    "apex": "2",
    "offset": "111",
    "action_units": "",
    "emotion": "anger",
}


@pytest.mark.parametrize(
    ("released", "offset", "outcome"),
    [
        ("111", "91", "offset 111 -> 91"),
        ("", "91", "offset 111 -> 91"),
        ("120", "111", "offset stays 111: the correction to 91 is for a sheet that says 120"),
    ],
)
def test_a_correction_applies_to_the_value_it_was_made_for_and_is_logged(caplog, released, offset, outcome):
    fix = Correction("sub07/a", "offset", released, "91", "a paper")
    with caplog.at_level(logging.INFO, logger="mer_hf"):
        corrected, outcomes = correct([RECORD], [fix])
    assert corrected == [{**RECORD, "offset": offset}]
    assert outcomes == [(fix, outcome)]
    assert caplog.messages == [f"sub07/a: {outcome} (a paper)"]
    assert RECORD["offset"] == "111"


@pytest.mark.parametrize("change", [{"subject": "sub08"}, {"name": "b"}])
def test_a_correction_leaves_other_clips_alone(change):
    record = {**RECORD, **change}
    assert correct([record], [Correction("sub07/a", "offset", "", "91", "a paper")]) == ([record], [])


def test_a_corrected_sheet_is_left_alone():
    record = {**RECORD, "offset": "91"}
    fix = Correction("sub07/a", "offset", "111", "91", "a paper")
    assert correct([record], [fix]) == ([record], [(fix, "offset is 91 in the sheet already")])


def test_a_correction_finds_one_of_several_clips_of_a_name_by_its_released_onset_only():
    first, second = RECORD, {**RECORD, "onset": "50"}
    by_onset = [Correction("sub07/a@50", "onset", "50", "57", ""), Correction("sub07/a@50", "offset", "111", "74", "")]
    corrected, _ = correct([first, second], by_onset)
    assert corrected == [first, {**second, "onset": "57", "offset": "74"}]
    by_name = Correction("sub07/a", "offset", "111", "74", "")
    corrected, outcomes = correct([first, second], [by_name])
    assert corrected == [first, second]
    assert outcomes == [(by_name, "offset not corrected: 2 rows have this name")]


def test_shipped_corrections_name_known_fields_and_their_source():
    files = sorted(CORRECTIONS.glob("*.csv"))
    assert [file.stem for file in files if file.stem not in CORPORA] == []
    for fix in (fix for file in files for fix in read_corrections(file)):
        assert fix.field in Columns._fields
        assert fix.corrected and fix.source and fix.corrected != fix.released


def test_a_corpus_without_a_file_of_corrections_has_none(tmp_path):
    assert read_corrections(tmp_path / "none.csv") == []


@pytest.mark.parametrize("apex", ["", "/", "\\", "-"])
def test_an_apex_that_is_not_known_is_none(apex):
    assert parse_annotation({**RECORD, "apex": apex}, Toy.emotions).apex is None


def test_an_offset_that_is_not_known_is_the_apex_where_the_corpus_says_so():
    record = {**RECORD, "offset": "0"}
    assert parse_annotation(record, Toy.emotions, no_offset="0").offset == 2
    with pytest.raises(AnnotationError, match="the onset 1 is after the offset 0"):
        parse_annotation(record, Toy.emotions)
    with pytest.raises(AnnotationError, match="the onset 1 is after the offset 0"):
        parse_annotation({**record, "apex": "/"}, Toy.emotions, no_offset="0")


@pytest.mark.parametrize("released", ["comtempt", " Comtempt ", "contempt"])
def test_released_spellings_are_put_right(released):
    annotation = parse_annotation({**RECORD, "emotion": released}, ("contempt",), {"comtempt": "contempt"})
    assert annotation.emotion == "contempt"


@pytest.mark.parametrize("released", ["Anger+Other", "anger , other", "anger/other"])
def test_several_emotions_at_once_are_kept_where_the_corpus_has_such_clips(released):
    record = {**RECORD, "emotion": released}
    assert parse_annotation(record, Toy.emotions, blends=True).emotion == "anger+other"
    with pytest.raises(AnnotationError, match="unknown emotion"):
        parse_annotation(record, Toy.emotions)
    with pytest.raises(AnnotationError, match="unknown emotion"):
        parse_annotation({**record, "emotion": f"{released}+awe"}, Toy.emotions, blends=True)


def test_a_frame_number_is_one_that_fits_a_table():
    assert parse_annotation({**RECORD, "offset": "9" * 18}, Toy.emotions).offset == 10**18 - 1
    for text in ("9" * 19, "-1", "1.5", "١"):
        with pytest.raises(AnnotationError, match="is not a frame number"):
            parse_annotation({**RECORD, "offset": text}, Toy.emotions)


@given(st.dictionaries(st.sampled_from(Columns._fields), st.text(max_size=8)))
def test_any_text_in_a_sheet_is_understood_or_refused_as_an_annotation_error(cells):
    try:
        annotation = parse_annotation({**RECORD, **cells}, Casme2.emotions + Toy.emotions)
    except AnnotationError:
        return
    assert annotation.onset <= annotation.offset
    assert not {"/", "\\"} & set(annotation.name)


def test_a_sheet_whose_compressed_bytes_are_damaged_is_refused_as_what_it_is(tmp_path):
    path = tmp_path / "sheet.xlsx"
    book = openpyxl.Workbook()
    for row in range(200):
        book.active.append([f"sub{row:02}", row, row**2])
    book.save(path)
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as parts:
        place = parts.getinfo("xl/worksheets/sheet1.xml")
    start = place.header_offset + 30 + len(place.filename)
    content[start + 20 : start + 120] = b"\xff" * 100
    path.write_bytes(content)
    with pytest.raises(AnnotationError, match=r"sheet\.xlsx cannot be read as a spreadsheet"):
        read_pages(path)


def test_a_sheet_whose_parts_lie_nowhere_is_refused_as_what_it_is(tmp_path):
    path = tmp_path / "sheet.xlsx"
    openpyxl.Workbook().save(path)
    content = bytearray(path.read_bytes())
    end = content.rfind(b"PK\x05\x06")
    # where the table of parts begins; all places are told from the difference to where it is found
    content[end + 16 : end + 20] = (2**27).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(AnnotationError, match=r"sheet\.xlsx cannot be read as a spreadsheet"):
        read_pages(path)


def test_cells_that_are_merged_outside_of_the_page_change_nothing(tmp_path):
    path = tmp_path / "sheet.xlsx"
    book = openpyxl.Workbook()
    book.active.append(["a", "b"])
    book.save(path)
    with zipfile.ZipFile(path) as parts:
        files = {name: parts.read(name) for name in parts.namelist()}
    page = "xl/worksheets/sheet1.xml"
    merged = b'<mergeCells count="1"><mergeCell ref="C7:C9"/></mergeCells>'
    files[page] = files[page].replace(b"</sheetData>", b"</sheetData>" + merged)
    with zipfile.ZipFile(path, "w") as parts:
        for name, content in files.items():
            parts.writestr(name, content)
    assert read_pages(path) == {"Sheet": [["a", "b"]]}
