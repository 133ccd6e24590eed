"""The rows of a batch: reading them, checking them, and the keys they get."""

from __future__ import annotations

import io
import itertools
import json
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from mountsea_banana import batch
from mountsea_banana.batch import BadRow, InvalidRows, UnreadableRows
from mountsea_banana.batch._keys import file_name


def requests(rows: batch.Worklist) -> list[dict[str, Any]]:
    with rows:
        return [dict(row.request) for row in rows]


def keys(*items: Mapping[str, object]) -> list[str]:
    with batch.rows(items) as rows:
        return [row.key for row in rows]


def stream(text: str, encoding: str = "utf-8") -> io.BytesIO:
    return io.BytesIO(text.encode(encoding))


def problems(source: io.BytesIO | list[Any]) -> list[BadRow]:
    with pytest.raises(InvalidRows) as caught:
        batch.rows(source) if isinstance(source, list) else batch.read(source)
    assert caught.value.count == len(caught.value.rows)
    return list(caught.value.rows)


# Reading


def test_a_line_of_json_is_a_request_with_the_apis_own_fields() -> None:
    source = stream(
        '{"prompt": "a cat", "model": "nano-banana-2", "aspect_ratio": "8:1", "key": "cat"}\n'
        "\n"
        '{"prompt": "a dog", "resolution": null}'
    )
    with batch.read(source) as rows:
        first, second = rows
    assert (first.number, first.key) == (1, "cat")
    assert first.request == {
        "prompt": "a cat",
        "model": "nano-banana-2",
        "aspect_ratio": "8:1",
        "action": "generate",
    }
    assert (second.number, second.request) == (3, {"prompt": "a dog", "action": "generate"})


def test_a_row_with_image_urls_is_an_edit_unless_it_has_an_action() -> None:
    urls = ["https://a.example/1.png"]
    assert requests(
        batch.rows(
            [
                {"prompt": "a", "image_urls": urls},
                {"prompt": "a", "image_urls": urls, "action": "generate"},
                {"prompt": "a", "image_urls": []},
            ]
        )
    ) == [
        {"prompt": "a", "image_urls": urls, "action": "edit"},
        {"prompt": "a", "image_urls": urls, "action": "generate"},
        {"prompt": "a", "image_urls": [], "action": "generate"},
    ]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_table_is_read_as_excel_writes_it(delimiter: str, encoding: str, end: str) -> None:
    lines = [
        ["key", "prompt", "image_urls", "num_images", "", ""],
        ["one", '"a ""big"" cat, or; a dog"', "", "", "", ""],
        ["", "", "", "", "", ""],
        ["", '"two\nlines"', "https://a.example/1.png https://a.example/2.png", "1", "", ""],
        ["", "ein Käse ", '"[""https://a.example/3.png""]"', "", "", ""],
    ]
    text = "".join(delimiter.join(cells) + end for cells in lines)
    with batch.read(stream(text, encoding)) as rows:
        one, two, three = rows
    assert (one.number, one.key, one.request["prompt"]) == (2, "one", 'a "big" cat, or; a dog')
    assert two.number == 4
    assert two.request["prompt"].split("\n") == ["two", "lines"]
    assert two.request["image_urls"] == ["https://a.example/1.png", "https://a.example/2.png"]
    assert two.request["num_images"] == 1
    assert (three.number, three.request["prompt"]) == (6, "ein Käse ")
    assert three.request["image_urls"] == ["https://a.example/3.png"]


def test_a_prompt_has_the_same_key_whatever_the_line_breaks_in_its_cell() -> None:
    text = 'prompt\n"one\ntwo"\n'
    with (
        batch.read(stream(text)) as here,
        batch.read(stream(text.replace("\n", "\r\n"))) as there,
    ):
        assert list(here) == list(there)


def test_a_table_may_name_its_delimiter_in_the_first_line() -> None:
    assert requests(batch.read(stream("sep=|\nprompt|model\na cat|nano-banana-2\n"))) == [
        {"prompt": "a cat", "model": "nano-banana-2", "action": "generate"}
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("rows.csv", "prompt\na cat\n"),
        ("rows.TSV", "prompt\tmodel\na cat\t\n"),
        ("rows.jsonl", '{"prompt": "a cat"}'),
        ("rows.txt", "\n\n" + '{"prompt": "a cat"}'),
        ("rows", "prompt\na cat\n"),
    ],
)
def test_a_file_is_json_lines_or_a_table_by_its_name_or_else_by_its_content(
    name: str, text: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(text)
    assert requests(batch.read(tmp_path / name)) == [{"prompt": "a cat", "action": "generate"}]


@pytest.mark.parametrize("text", ["", "\n\n", "prompt\n"])
def test_a_file_may_have_no_rows(text: str) -> None:
    assert requests(batch.read(stream(text))) == []


# What is wrong with rows


def test_all_rows_are_checked_and_the_bad_ones_are_named_with_their_lines() -> None:
    source = stream(
        '{"prompt": "a cat"}\n'
        "{oops\n"
        '["a list"]\n'
        '{"prompt": "a", "resolution": "2K"}\n'
        '{"prompt": "a", "apsect_ratio": "1:1"}\n'
        '{"prompt": "a", "key": ""}\n'
        f"{'[' * 100_000}\n"
    )
    lines = [str(row) for row in problems(source)]
    assert [line.partition(":")[0] for line in lines] == [f"row {n}" for n in range(2, 8)]
    for line, part in zip(
        lines,
        (
            "is not valid JSON",
            "is not an object with fields",
            "resolution works only with",
            "'apsect_ratio' is not a field",
            "a key must be a string of 1 to 500 characters",
            "is not valid JSON",
        ),
        strict=True,
    ):
        assert part in line


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"prompt": "a cat", "prompt": "a dog"}', "it has 'prompt' twice"),
        ('{"prompt": " "}', "the prompt is empty"),
        ("prompt\n\u200b\x1a\n", "the prompt is empty"),
    ],
)
def test_a_row_that_is_surely_a_mistake_is_not_paid_for(text: str, problem: str) -> None:
    (row,) = problems(stream(text))
    assert problem in str(row)


def test_the_error_shows_the_first_bad_rows_and_counts_the_rest() -> None:
    with pytest.raises(InvalidRows) as caught:
        batch.rows([{}] * 25)
    error = caught.value
    assert (error.count, len(error.rows)) == (25, 20)
    assert str(error).startswith("25 rows are invalid, so nothing was sent: row 1: prompt is")
    assert str(error).endswith("; and 5 more")


def test_bad_rows_can_be_skipped() -> None:
    with batch.rows([{"prompt": 5}, {"prompt": "a cat"}], skip_invalid=True) as rows:
        assert [row.number for row in rows] == [2]
        assert (len(rows), rows.states) == (1, {"not started": 1, "skipped": 1})
        skipped, other = rows.outcomes()
        assert (skipped.number, skipped.key, skipped.state) == (1, None, "skipped")
        assert skipped.error == "prompt must be a string, not 5"
        assert (other.state, other.prompt) == ("not started", "a cat")


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("prompt,num_images\na,many\n", 2, "num_images must be a number, not 'many': omit it"),
        ('prompt,image_urls\na,"[1"\n', 2, "image_urls must be a list of URLs, not '[1'"),
        ("prompt\na,b\n", 2, "has a cell in a column without a name"),
        ("key,prompt\nx,\n", 2, "prompt is required"),
    ],
)
def test_a_bad_cell_is_a_bad_row(text: str, line: int, problem: str) -> None:
    assert problems(stream(text)) == [BadRow(line, (problem,))]


@pytest.mark.parametrize("text", ["prompt\nein Käse\n", '{"prompt": "ein Käse"}\n'])
def test_a_row_that_is_not_utf_8_is_a_bad_row(text: str) -> None:
    (row,) = problems(stream(text, "cp1252"))
    assert row.problems[0].startswith("is not in UTF-8")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("prompt,notes\na,b\n", "the column 'notes' is unknown: the first row must have the names"),
        ("prompt,prompt\na,b\n", "there are several columns 'prompt'"),
        ('prompt\na\n"never closed\n', "is not valid CSV: unexpected end of data"),
        (f"prompt\n{'a' * 131_073}\n", "line 2 is not valid CSV: field larger than field limit"),
    ],
)
def test_a_table_that_makes_no_sense_is_an_error(text: str, problem: str) -> None:
    with pytest.raises(UnreadableRows, match=problem):
        batch.read(stream(text), skip_invalid=True)


def test_a_file_in_utf_16_is_an_error_that_says_how_to_save_it() -> None:
    with pytest.raises(UnreadableRows, match="in UTF-16: save them in UTF-8"):
        batch.read(stream("prompt\na\n", "utf-16"))


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UnreadableRows, match=r"cannot be read: .*No such file"):
        batch.read(tmp_path / "rows.csv")


def test_an_error_while_the_rows_are_made_closes_the_temporary_database() -> None:
    def items() -> Any:
        yield {"prompt": "a"}
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError, match="the source broke"):
        batch.rows(items())


def test_a_closed_list_of_rows_is_of_no_more_use() -> None:
    rows = batch.rows([{"prompt": "a"}])
    rows.close()
    with pytest.raises(sqlite3.ProgrammingError):
        list(rows)


# Keys


def test_a_key_follows_a_row_wherever_other_rows_are_added_removed_or_sorted() -> None:
    cat, dog, cow = ({"prompt": f"a {name}"} for name in ("cat", "dog", "cow"))
    by_row = dict(zip(("cat", "dog", "cow"), keys(cat, dog, cow), strict=True))
    assert keys(cow, cat) == [by_row["cow"], by_row["cat"]]
    assert len(set(by_row.values())) == 3


def test_the_keys_of_rows_never_change() -> None:
    # They are in people's ledgers: another key would be paid for again.
    assert keys(
        {"prompt": "A fluffy orange cat, running through a sunny meadow"},
        {"prompt": "一只猫", "model": "nano-banana-2", "aspect_ratio": "8:1"},
        {"prompt": "x" * 50, "num_images": 1},
    ) == [
        "a-fluffy-orange-cat-running-through-a-dd332d592207340c",
        "71acfa5bc5c625ec",
        f"{'x' * 40}-2819b413882525fc",
    ]


def test_the_order_of_fields_and_a_default_that_is_spelt_out_make_no_other_key() -> None:
    one, two, three = (
        keys(fields)[0]
        for fields in (
            {"prompt": "a", "model": "nano-banana-2"},
            {"model": "nano-banana-2", "prompt": "a", "resolution": None},
            {"action": "generate", "model": "nano-banana-2", "prompt": "a"},
        )
    )
    assert one == two == three


def test_identical_rows_are_pictures_of_their_own() -> None:
    cat, dog = {"prompt": "a cat"}, {"prompt": "a dog"}
    one, _, two, three = keys(cat, dog, cat, cat)
    assert (two, three) == (f"{one}-2", f"{one}-3")


def test_a_number_is_a_key_as_well() -> None:
    assert keys({"prompt": "a", "key": 42}, {"prompt": "b", "key": "42b"}) == ["42", "42b"]


def test_a_number_that_is_too_long_for_a_key_is_an_error() -> None:
    (row,) = problems([{"prompt": "a", "key": 10**5000}])
    assert row.problems[0].startswith("a key must be a string of 1 to 500 characters")


def test_two_different_rows_with_one_key_are_an_error_and_the_same_row_twice_is_one() -> None:
    cat, dog = {"prompt": "a cat", "key": "k"}, {"prompt": "a dog", "key": "k"}
    assert keys(cat, cat) == ["k"]
    assert problems([cat, dog]) == [
        BadRow(2, ("has the key 'k' of row 1, whose request differs",)),
    ]


# The names of files


@pytest.mark.parametrize("key", ["cat", "cover-42", "a_b", "0", "x" * 100])
def test_a_simple_key_is_the_name_of_its_file(key: str) -> None:
    assert file_name(key) == key


def test_any_other_key_gets_a_name_that_every_file_system_can_store() -> None:
    odd = [
        *("cover/42", "../../etc/passwd", "Cat", "cat.", "cat ", "CON", "con", "com1", "nul"),
        *("猫", "Привет", "-rf", ".hidden", "a:b", "x" * 101, "x" * 500, "cat.png", "a\nb", "~"),
        *("cat_0123456789abcdef", "👩‍👩‍👧‍👦", "_", "a" * 90 + "/"),
    ]
    for key in odd:
        name = file_name(key)
        assert name.isascii()
        assert len(name) <= 100
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
        assert name[0] not in "-_"
        assert name.lower() not in ("con", "nul", "com1")
        assert name != key


def test_no_two_keys_have_one_name_even_if_case_does_not_count() -> None:
    parts = ("a", "A", "/", "_", ".", "-", "é", "png", "_0123456789abcdef")
    odd = {"".join(each) for n in (1, 2, 3) for each in itertools.product(parts, repeat=n)}
    odd |= {file_name(key) for key in odd}
    names = {file_name(key).lower() for key in odd}
    assert len(names) == len(odd)


def test_the_name_of_a_file_says_what_it_can_of_its_key() -> None:
    assert file_name("cover/42").startswith("cover_42_")
    assert file_name("Cat.PNG").startswith("Cat_")


# Memory


def test_the_rows_are_read_again_from_the_disk_and_not_kept() -> None:
    with batch.rows({"prompt": f"cat {n}"} for n in range(1000)) as rows:
        numbers = [row.number for row in rows]
        assert numbers == list(range(1, 1001))
        assert [json.loads(json.dumps(row.request))["prompt"] for row in rows][-1] == "cat 999"
