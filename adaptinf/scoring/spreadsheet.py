"""A table as an Excel file: the few parts of one that hold plain cells.

MMBench's uploads are such files, and a package that can do all of Excel is much for them.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Sequence
from xml.sax.saxutils import escape

_NAMESPACE = "http://schemas.openxmlformats.org"
_SHEET = f"{_NAMESPACE}/spreadsheetml/2006/main"
_PACKAGE = f"{_NAMESPACE}/package/2006"
_DOCUMENT = f"{_NAMESPACE}/officeDocument/2006/relationships"
_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml"
_HEAD = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'

_PARTS = {
    "[Content_Types].xml": (
        f'<Types xmlns="{_PACKAGE}/content-types">'
        '<Default Extension="rels" '
        'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{_TYPE}.sheet.main+xml"/>'
        f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{_TYPE}.worksheet+xml"/>'
        "</Types>"
    ),
    "_rels/.rels": (
        f'<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="rId1" '
        f'Type="{_DOCUMENT}/officeDocument" Target="xl/workbook.xml"/></Relationships>'
    ),
    "xl/workbook.xml": (
        f'<workbook xmlns="{_SHEET}" xmlns:r="{_DOCUMENT}">'
        '<sheets><sheet name="Sheet1" sheetId="1" r:id="rId1"/></sheets></workbook>'
    ),
    "xl/_rels/workbook.xml.rels": (
        f'<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="rId1" '
        f'Type="{_DOCUMENT}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>'
    ),
}

_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Signs that XML has no way to hold."""

_LONGEST = 32_767
"""Characters of a cell; Excel calls a file with more of them broken."""


def spreadsheet(rows: Sequence[Sequence[str | int]]) -> bytes:
    """An ``.xlsx`` file of one sheet. Texts stay texts, whatever they look like: no formulas.

    Texts longer than a cell may be are cut, and signs that XML cannot hold left out.
    """
    body = "".join(
        f'<row r="{number}">{"".join(_cell(n, number, cell) for n, cell in enumerate(row))}</row>'
        for number, row in enumerate(rows, 1)
    )
    sheet = f'<worksheet xmlns="{_SHEET}"><sheetData>{body}</sheetData></worksheet>'
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {**_PARTS, "xl/worksheets/sheet1.xml": sheet}.items():
            # Without a time of its own, so that equal rows are equal bytes.
            entry = zipfile.ZipInfo(name)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, _HEAD + content)
    return raw.getvalue()


def _cell(column: int, row: int, value: str | int) -> str:
    """Nothing where there is no text."""
    place = f"{_letters(column)}{row}"
    if isinstance(value, int):
        return f'<c r="{place}"><v>{value}</v></c>'
    text = escape(_FORBIDDEN.sub("", value)[:_LONGEST])
    kept = f'<is><t xml:space="preserve">{text}</t></is>'
    return f'<c r="{place}" t="inlineStr">{kept}</c>' if text else ""


def _letters(column: int) -> str:
    """A column's name: A to Z, then AA."""
    before, last = divmod(column, 26)
    return (_letters(before - 1) if before else "") + chr(ord("A") + last)
