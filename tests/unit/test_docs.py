"""The documents speak of files and headings that exist, and of every room of the house."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md")), ROOT / "tests" / "lab" / "README.md"]
TOP = ("weavedns", "weavenet", "tests", "bench", "scripts", "docs", "zones")
LINK = re.compile(r"\[[^\]]*\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]+))?\)")
CODE = re.compile(r"`([^`\n]+)`")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


def anchors(path: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = HEADING.findall(path.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def drawn() -> Iterator[Path]:
    """What the drawing of the rooms names: folders end in a slash, what is in them is indented."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    above: list[tuple[int, Path]] = []
    for line in text.partition("## The rooms")[2].partition("\n## ")[0].splitlines():
        indent = len(line) - len(line.lstrip())
        for word in line.split():
            if not word.endswith((".py", "/")):
                break
            while above and above[-1][0] >= indent:
                above.pop()
            path = (above[-1][1] if above else ROOT) / word
            yield path
            if word.endswith("/"):
                above.append((indent, path))


@pytest.mark.parametrize("document", DOCUMENTS, ids=shown)
def test_links_lead_to_files_and_headings_that_exist(document: Path) -> None:
    for target, anchor in LINK.findall(CODE.sub("", document.read_text(encoding="utf-8"))):
        path = document.parent / target if target else document
        assert path.exists(), target
        assert not anchor or anchor in anchors(path), f"{target}#{anchor}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=shown)
def test_paths_of_the_tree_exist(document: Path) -> None:
    named = [code.partition("::")[0] for code in CODE.findall(document.read_text(encoding="utf-8"))]
    paths = [name for name in named if "/" in name and name.partition("/")[0] in TOP and " " not in name]
    assert [path for path in paths if not list(ROOT.glob(path)) and not (ROOT / f"{path}.py").exists()] == []


def test_the_drawn_rooms_exist() -> None:
    paths = list(drawn())
    assert len(paths) > 100
    assert [shown(path) for path in paths if not path.exists()] == []


@pytest.mark.parametrize("package", ["weavedns", "weavenet"])
def test_every_room_is_drawn(package: str) -> None:
    rooms = {path.parent for path in (ROOT / package).rglob("*.py")}
    assert sorted(shown(room) for room in rooms - set(drawn())) == []
