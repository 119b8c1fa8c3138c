import json
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from browsing import open_browser, show
from mer_hf.errors import MerHfError
from mer_hf.evaluation.charts import (
    calibration_picture,
    confusion_picture,
    interval_picture,
    risk_picture,
    training_picture,
)
from mer_hf.evaluation.confidence import calibration, risk_coverage
from mer_hf.evaluation.predictions import PredictionsError
from mer_hf.evaluation.published import figures_of
from mer_hf.evaluation.report import Run, read_run, report
from mer_hf.evaluation.summary import summarise
from mer_hf.metrics import scores

CLASSES = ["negative", "positive", "surprise"]
RESULTS = {"recipe": {"dataset": "megc2019", "preset": "rcn"}, "versions": {"torch": "2.9"}}
EVIL = '<script>alert("x")</script>&'


class Reader(HTMLParser):
    """Tags with their attributes, and the text of every table as rows of cells."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.rows, self.open, self.text = [], [], [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "rect", "line", "circle", "polyline", "polygon", "img"):
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        if tag not in ("rect", "line", "circle", "polyline", "polygon"):
            assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data):
        self.text += data
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data


@pytest.fixture
def runs(make_predictions):
    emotions = dict(zip(CLASSES, ("disgust", "happiness", "surprise"), strict=True))
    tables = {"first": make_predictions(seeds=3), "second": make_predictions(seeds=2, skill=0.75, seed=4)}
    return [Run(n, t.assign(emotion=t.label.map(emotions)), CLASSES, RESULTS) for n, t in tables.items()]


@pytest.fixture
def page(runs):
    return report(runs, published=figures_of("megc2019-cde"))


def row_of(page, *start):
    return next(row for row in Reader(page).rows if [cell.strip() for cell in row[: len(start)]] == list(start))


def test_the_page_is_whole_and_needs_nothing_else(page):
    reader = Reader(page)
    assert reader.open == []
    assert not {tag for tag, _ in reader.tags} & {"script", "link", "iframe", "object", "base", "form"}
    assert not any(name in attrs for _, attrs in reader.tags for name in ("src", "href", "srcset"))
    assert not re.search(r"url\(|@import|https?:", page)


def test_the_scores_on_the_page_are_those_of_the_summary(page, runs):
    summary = summarise(runs[0].table, CLASSES)
    row = row_of(page, "first", "72", "12", "3")
    low, high = summary["pooled"]["interval"]["uf1"]
    assert row[4] == f"{summary['mean']['uf1']:.3f} ± {summary['sd']['uf1']:.3f} [{low:.3f}, {high:.3f}]"
    samm = summary["pooled"]["per_corpus"]["samm"]
    assert row_of(page, "samm", str(samm["clips"]))[3:] == [f"{samm['uar']:.3f}", f"{samm['accuracy']:.3f}"]
    for name in ("casme2/sub01", "disgust"):
        assert row_of(page, name)


def test_runs_are_compared_and_shown_with_published_figures(page):
    assert row_of(page, "second − first", "UF1")
    assert row_of(page, "HTNet")[-2] == "on the test subject"
    inflated = [row for tag, row in Reader(page).tags if tag == "tr" and row.get("class") == "inflated"]
    assert len(inflated) == 4


def test_clips_that_every_seed_gets_wrong_are_listed_and_no_others(runs):
    table = runs[0].table
    always = [clip for clip, rows in table.groupby("clip_id") if (rows.label != rows.predicted).all()]
    page = report(runs[:1], pictures={always[0]: b"\xff\xd8jpeg"})
    listed = [row[0].strip() for row in Reader(page).rows if len(row) == 3 and "@" in row[0]]
    assert sorted(listed) == always
    assert f"{len(always)} of 72 clips" in page
    images = [attrs["src"] for tag, attrs in Reader(page).tags if tag == "img"]
    assert len(images) == 1 and images[0].startswith("data:image/jpeg;base64,")


def test_names_are_escaped_wherever_they_come_from(make_predictions):
    table = make_predictions()
    names = {f"score_{name}": f"score_{name}{EVIL}" for name in CLASSES}
    table = table.assign(label=table.label + EVIL, predicted=table.predicted + EVIL).rename(columns=names)
    for column in ("clip_id", "corpus", "subject"):
        table[column] = table[column] + EVIL
    table[EVIL] = EVIL
    results = {"recipe": {EVIL: EVIL}, "versions": {EVIL: EVIL}}
    classes = [name + EVIL for name in CLASSES]
    page = report([Run(EVIL, table, classes, results), Run(EVIL + "2", table, classes, results)], by=[EVIL])
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert Reader(page).open == []


def test_a_table_of_three_columns_makes_a_page_too(make_predictions):
    table = make_predictions()[["clip_id", "label", "predicted", "seed"]]
    page = report([Run("bare", table, CLASSES, {})])
    assert "Calibration" not in page and "Recipe" not in page
    assert row_of(page, "bare", "72")


def test_an_unknown_column_and_a_broken_results_file_are_refused(runs, tmp_path):
    with pytest.raises(PredictionsError, match="no run has the column age; there are clip_id"):
        report(runs, by=["age"])
    runs[0].table.to_csv(tmp_path / "predictions.csv", index=False)
    (tmp_path / "results.json").write_text("{")
    with pytest.raises(MerHfError, match="is not JSON"):
        read_run(tmp_path, "run")


def test_more_columns_are_joined_by_clip(runs, tmp_path):
    table = runs[0].table
    table.to_csv(tmp_path / "predictions.csv", index=False)
    columns = pd.DataFrame({"clip_id": table.clip_id.unique()}).assign(sex=lambda t: np.where(t.index % 2, "f", "m"))
    run = read_run(tmp_path, "run", columns.sample(frac=1, random_state=0))
    expected = columns.set_index("clip_id").sex
    assert (run.table.sex.to_numpy() == expected[run.table.clip_id].to_numpy()).all()
    assert len(run.table) == len(table)
    with pytest.raises(PredictionsError, match="1 clips have no row"):
        read_run(tmp_path, "run", columns[1:])


# --- pictures ---


def cells(svg):
    """(count, share) of the cells of a confusion picture, in the order of reading."""
    found = re.findall(r'x="([\d.]+)" y="([\d.]+)" width="[\d.]+" height="[\d.]+" fill-opacity="([\d.]+)"', svg)
    counts = re.findall(r"<title>(\d+) of (\d+) (\w+) were taken for (\w+)</title>", svg)
    return list(zip(found, counts, strict=True))


def test_a_confusion_picture_has_true_classes_in_rows():
    counts = [[8, 2, 0], [1, 3, 4], [0, 0, 2]]
    assert scores([0] * 2 + [1] * 4, [1] * 2 + [2] * 4, 3)["confusion"] == [[0, 2, 0], [0, 0, 4], [0, 0, 0]]
    drawn = cells(confusion_picture(CLASSES, counts))
    for ((x, y, shade), (count, total, label, predicted)), (row, column) in zip(drawn, np.ndindex(3, 3), strict=True):
        assert (int(count), int(total)) == (counts[row][column], sum(counts[row]))
        assert (label, predicted) == (CLASSES[row], CLASSES[column])
        assert float(shade) == pytest.approx(counts[row][column] / sum(counts[row]), abs=1e-3)
        assert (float(x) > float(drawn[0][0][0])) == (column > 0)
        assert (float(y) > float(drawn[0][0][1])) == (row > 0)


def test_intervals_and_dots_stand_where_their_scores_are():
    svg = interval_picture([("a", 0.25, (0.0, 0.5)), ("b", 1.0, None)], "UF1")
    ticks = [float(x) for x in re.findall(r'class="grid" x1="([\d.]+)"', svg)]
    dots = [float(x) for x in re.findall(r'class="dot" cx="([\d.]+)"', svg)]
    (bar,) = re.findall(r'class="bar" x1="([\d.]+)" x2="([\d.]+)"', svg)
    assert dots == pytest.approx([ticks[1], ticks[4]], abs=0.06)
    assert [float(end) for end in bar] == pytest.approx([ticks[0], ticks[2]], abs=0.06)


def test_curves_go_through_their_points():
    confidence, right = np.array([0.95, 0.85, 0.55, 0.52]), np.array([True, True, True, False])
    (points,) = re.findall(r'points="([^"]+)"', risk_picture(risk_coverage(confidence, right)))
    corners = [[float(value) for value in point.split(",")] for point in points.split()]
    assert corners[0][1] == corners[1][1] == 222  # nothing wrong yet: at the bottom
    assert corners[-1] == pytest.approx([344, 222 - 0.25 * 204])
    svg = calibration_picture(calibration(confidence, right))
    dots = [(float(x), float(y)) for x, y in re.findall(r'class="dot" cx="([\d.]+)" cy="([\d.]+)"', svg)]
    assert dots[0] == pytest.approx((46 + 0.535 * 298, 222 - 0.5 * 204), abs=0.06)
    assert len(dots) == 3


def test_a_training_picture_shows_the_mean_between_the_least_and_the_most():
    svg = training_picture([[(1.0, 2.0), (2.0, 1.0)], [(1.0, 1.0), (2.0, 0.0)]])
    (band,) = re.findall(r'<polygon class="count" points="([^"]+)"', svg)
    corners = [tuple(float(value) for value in point.split(",")) for point in band.split()]
    assert corners == [(195.0, 18.0), (344.0, 120.0), (344.0, 222.0), (195.0, 120.0)]
    (mean,) = re.findall(r'polyline class="curve" points="([^"]+)"', svg)
    assert mean == "195.0,69.0 344.0,171.0"
    assert ">2<" in svg and ">1.5<" in svg


def test_curves_of_the_folds_are_on_the_page(runs, tmp_path):
    runs[0].table.to_csv(tmp_path / "predictions.csv", index=False)
    (tmp_path / "folds" / "a").mkdir(parents=True)
    curve = [{"loss": 2.0, "epoch": 1.0}, {"loss": 1.0, "epoch": 2.0}, {"train_runtime": 3.0, "epoch": 2.0}]
    (tmp_path / "folds" / "a" / "seed-0.json").write_text(json.dumps({"curve": curve}))
    run = read_run(tmp_path, "run")
    assert run.curves == [[(1.0, 2.0), (2.0, 1.0)]]
    page = report([run])
    assert "the mean of 1 trainings" in page
    assert Reader(page).open == []
    (tmp_path / "folds" / "a" / "seed-0.json").write_text("{")
    with pytest.raises(MerHfError, match=r"seed-0\.json is not JSON"):
        read_run(tmp_path, "run")


# --- in a browser ---


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with open_browser(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 400])
def test_a_browser_shows_the_page_without_scrolling_sideways(browser, page, tmp_path, width):
    show(browser, tmp_path / "report.html", page, width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    pictures = browser.execute_script(
        "return [...document.querySelectorAll('svg')].map(s => [s.getBoundingClientRect().left, "
        "s.getBoundingClientRect().right, s.getBoundingClientRect().width])"
    )
    assert len(pictures) == 7
    assert all(left >= 0 and right <= width and wide > 250 for left, right, wide in pictures)
    letters = browser.execute_script(
        "return [...document.querySelectorAll('td, p, svg text')].filter(e => e.getClientRects().length)"
        ".map(e => parseFloat(getComputedStyle(e).fontSize) * (e.ownerSVGElement ? "
        "e.ownerSVGElement.getBoundingClientRect().width / 360 : 1))"
    )
    assert min(letters) > 9  # pixels: can be read
    assert browser.get_log("browser") == []
