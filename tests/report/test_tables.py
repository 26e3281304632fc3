"""Tables: one object, three languages, nothing unescaped, nothing rounded that a program reads.

Kinds: properties (hidden columns), escaping, number formats by eye.
"""

import csv
import io
import math

import pandas as pd
import pytest
from vitsweep.analysis import text as shown
from vitsweep.analysis.report.tables import Column, Table, frame_csv

NASTY = "<script>alert(1)</script>|50%_$x^{2}~&#\\"


def table(names=("a", "b"), values=(1.0, 2.5), **options) -> Table:
    frame = pd.DataFrame({"arm": list(names), "value": list(values), "same": [7.0] * len(names)})
    columns = [
        Column("arm", lambda r: r["arm"], "arm", numeric=False, keep=True),
        Column("value", lambda r: shown.decimals(r["value"]), "value"),
        Column("same", lambda r: shown.integer(r["same"]), "same"),
    ]
    return Table(name="t", title="T", caption="All of it.", frame=frame, columns=columns, **options)


def test_column_that_is_equal_everywhere_is_hidden_and_named():
    assert [c.title for c in table().shown_columns] == ["arm", "value"]
    assert table().all_notes == ["The same in every row: same 7."]


def test_hidden_column_stays_in_the_csv():
    assert table().csv().splitlines() == ["arm,value,same", "a,1,7", "b,2.5,7"]


def test_column_to_keep_is_shown_even_when_equal():
    one = table(values=(1.0, 1.0))
    assert [c.title for c in one.shown_columns] == ["arm"]


def test_single_row_hides_only_what_is_missing():
    one = table(names=("a",), values=(math.nan,))
    assert [c.title for c in one.shown_columns] == ["arm", "same"] and one.all_notes == []


def test_table_without_rows_can_be_written():
    empty = table(names=(), values=())
    assert empty.markdown().count("|") > 0 and empty.csv() == "arm,value,same\n"


def test_csv_of_a_nasty_name_reads_back_as_it_was():
    text = table(names=(NASTY, 'quote " and, comma')).csv()
    assert [row["arm"] for row in csv.DictReader(io.StringIO(text))] == [NASTY, 'quote " and, comma']


@pytest.mark.parametrize("name", ["=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "\t=1+1", "＝1+1", "-inf", "+1_0"])
def test_csv_gives_a_spreadsheet_no_formula(name):
    (row,) = csv.DictReader(io.StringIO(frame_csv(pd.DataFrame({"class": [name], name: [-1.5]}))))
    assert row == {"class": f"'{name}", f"'{name}": "-1.5"}


@pytest.mark.parametrize("name", ["-1.5", "-", "+3", "1e-3", "-.5E+3", "a=b", ""])
def test_csv_leaves_numbers_and_other_names_alone(name):
    assert shown.csv_text(name) == name


def test_control_characters_of_a_name_are_visible_in_every_language():
    made = table(names=("a\x1b[31m", "b\x9b\u202e"))
    for text in (made.csv(), made.markdown()):
        assert not {"\x1b", "\x9b", "\u202e"} & set(text)
    assert made.csv().splitlines()[1:] == ["a\\x1b[31m,1,7", "b\\x9b\\u202e,2.5,7"]


def test_csv_has_twelve_digits_and_nothing_for_nan():
    assert frame_csv(pd.DataFrame({"x": [1 / 3, math.nan], "y": [1, 2]})) == "x,y\n0.333333333333,1\n,2\n"


def test_markdown_of_a_nasty_name_stays_one_cell():
    row = table(names=(NASTY, "b")).markdown().splitlines()[2]
    assert "<script" not in row
    assert row.replace("\\|", "").count("|") == 3


def test_sort_keys_are_numbers_and_empty_for_missing():
    assert table(values=(1.5, math.nan)).sort_keys == [["a", "1.5"], ["b", ""]]


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: shown.decimals(-0.001), "0.00"),
        (lambda: shown.decimals(-1.005, 1), "\u22121.0"),
        (lambda: shown.decimals(2.9749999999999996), "2.98"),  # 2.975 and what rounding in another order makes of it
        (lambda: shown.decimals(2.9750000000000001), "2.98"),
        (lambda: shown.decimals(math.nan), "\u2013"),
        (lambda: shown.signed(0.3), "+0.30"),
        (lambda: shown.signed(0.0), "0.00"),
        (lambda: shown.signed(-0.3), "\u22120.30"),
        (lambda: shown.interval(-0.1, 0.2), "[\u22120.10, +0.20]"),
        (lambda: shown.interval(math.nan, math.nan), ""),
        (lambda: shown.p_value(0.0004), "< 0.001"),
        (lambda: shown.p_value(0.0496), "0.050"),
        (lambda: shown.integer(math.inf), "> 100,000"),
        (lambda: shown.integer(4249354), "4,249,354"),
        (lambda: shown.si_number(4249354.0), "4.25 M"),
        (lambda: shown.si_number(999.0), "999"),
        (lambda: shown.duration(3.14), "3.1 s"),
        (lambda: shown.duration(200), "3 min 20 s"),
        (lambda: shown.duration(18720), "5 h 12 min"),
        (lambda: shown.format_ranges([3, 1, 2, 9]), "1-3, 9"),
        (lambda: shown.format_ranges([]), ""),
    ],
)
def test_numbers_are_written(call, text):
    assert call() == text
