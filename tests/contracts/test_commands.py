"""Commands that the documentation names are commands that there are."""

from __future__ import annotations

import contextlib
import re
import shlex
from pathlib import Path

import pytest
import typer

from napari_flowsr.cli.app import app

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / "recipes").glob("*.toml"),
        *(ROOT / "src" / "napari_flowsr" / "cli").glob("*.py"),
    ]
)
# A line of a code block or a comment: the command, its continuations, no comment.
LINE = re.compile(r"^(?:[#$ ]|.* && )*napari-flowsr((?: |\\\n#?)[^#\n\\`\"]+)+", re.M)
INLINE = re.compile(r"`napari-flowsr\s+([^`]+)`")
# In the help of a command; elsewhere in a source a command is only mentioned.
EXAMPLE = re.compile(r"^ +- `napari-flowsr ([^`]+)`", re.M)
USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[2]


def commands(page: Path) -> list[str]:
    """Each command of a page, without the name of the program."""
    text = page.read_text("utf-8")
    if page.suffix == ".py":
        return EXAMPLE.findall(text)
    found = [
        match.group().partition("napari-flowsr")[2] for match in LINE.finditer(text)
    ]
    found = [re.sub(r"\\\n#?", " ", line) for line in found]
    return [" ".join(one.split()) for one in [*found, *INLINE.findall(text)]]


def parse(command: str) -> None:
    """Take a command apart as the program would, and do not run it."""
    arguments = shlex.split(command)
    node, context = typer.main.get_command(app), None
    while True:
        context = node.make_context(node.name, list(arguments), parent=context)
        if not hasattr(node, "resolve_command"):
            return
        rest = [*context._protected_args, *context.args]
        _, node, arguments = node.resolve_command(context, rest)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_of_a_page_can_be_given(page):
    for command in commands(page):
        try:
            # Options such as --list-presets answer at once, and that is the end.
            with contextlib.suppress(typer.Exit):
                parse(command)
        except USAGE_ERROR as error:
            pytest.fail(f"napari-flowsr {command}: {error.format_message()}")


def test_commands_are_found_and_wrong_ones_refused():
    readme = commands(ROOT / "README.md")
    assert "demo" in readme
    assert "upscale cell.tif cell-2x.ome.tif -n 8 --outputs samples,mean,std" in readme
    (train,) = commands(ROOT / "recipes" / "micro-2x.toml")
    assert train.startswith(
        "train FOLDER --config recipes/micro-2x.toml --set manifest"
    )
    assert len(commands(ROOT / "src/napari_flowsr/cli/upscale.py")) == 3
    for wrong in (
        "models export micro-4x.safetensors --half",  # no TARGET
        "upscale a.tif --sample 3x",
        "enlarge a.tif",
        "upscale a.tif -n many",
    ):
        with pytest.raises(USAGE_ERROR):
            parse(wrong)
