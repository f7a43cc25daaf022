"""Reading large XML files element by element, without trusting them.

No entity is expanded and nothing outside the file is opened: a document type declaration, which every
MATSim file has, is passed over, and one that declares entities is refused. Memory does not grow with the file.
"""

from __future__ import annotations

import contextlib
import gzip
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, cast
from xml.parsers import expat

from runs.demand.trip_list import DemandFileError

Start = Callable[[str, dict[str, str], int], None]
End = Callable[[str, str], None]
_DEEPEST = 64
_BLOCK = 1 << 20
_LONGEST_TEXT = 1 << 20


def read_xml(path: Path, *, start: Start, end: End) -> None:
    """Call `start(tag, attributes, line)` and `end(tag, text)` for every element of a file, plain or gzipped.

    Raises
    ------
    DemandFileError
        When it is no XML, declares entities, is nested too deeply, or is damaged.
    """
    parser = expat.ParserCreate()
    depth = 0
    text: list[str] = []
    size = 0

    def opened(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth, size
        depth += 1
        if depth > _DEEPEST:
            raise DemandFileError(f"{path}: line {parser.CurrentLineNumber}: elements are nested too deeply")
        text.clear()
        size = 0
        start(tag, attributes, parser.CurrentLineNumber)

    def closed(tag: str) -> None:
        nonlocal depth
        depth -= 1
        end(tag, "".join(text).strip())
        text.clear()

    def said(part: str) -> None:
        nonlocal size
        size += len(part)
        if size > _LONGEST_TEXT:
            raise DemandFileError(f"{path}: line {parser.CurrentLineNumber}: a text is too long")
        text.append(part)

    def declared(*_: object) -> None:
        raise DemandFileError(f"{path}: line {parser.CurrentLineNumber}: declares entities, which are refused")

    parser.StartElementHandler = opened
    parser.EndElementHandler = closed
    parser.CharacterDataHandler = said
    parser.EntityDeclHandler = declared
    parser.UnparsedEntityDeclHandler = declared
    parser.ExternalEntityRefHandler = lambda *_: 1  # not opened
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            stream = cast("IO[bytes]", gzip.GzipFile(fileobj=raw)) if packed else raw
            while block := stream.read(_BLOCK):
                parser.Parse(block, False)
            parser.Parse(b"", True)
    except expat.ExpatError as error:
        raise DemandFileError(f"{path}: not well-formed XML ({error})") from None
    except (OSError, EOFError, zlib.error) as error:
        raise DemandFileError(f"{path}: cannot be read ({' '.join(str(error).split())[:160]})") from None


def root_of(path: Path) -> str:
    """Tag of a file's first element."""
    found: list[str] = []

    class _Enough(Exception):  # noqa: N818 - not an error
        pass

    def start(tag: str, _attributes: dict[str, str], _line: int) -> None:
        found.append(tag)
        raise _Enough

    with contextlib.suppress(_Enough):
        read_xml(path, start=start, end=lambda _tag, _text: None)
    return found[0] if found else ""
