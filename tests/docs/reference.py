#!/usr/bin/env python3
"""Prints docs/configuration.md, made from config.toml.example; `--write` puts it into its place.

The example is read line by line, by the rules that its own head tells: a line without `#` must be there, `# key` is a
default, `## key` an example of a key without one, `#key` belongs to a section that is not there by default.
"""

import re
import sys
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "config.toml.example"
REFERENCE = ROOT / "docs" / "configuration.md"

KEY = re.compile(r"^(#|# |## )?([a-z_0-9]+) = (\S.*)$")
SECTION = re.compile(r"^(#?)(\[{1,2})([a-z_.]+)\]{1,2}$")
KIND = re.compile(r'^kind = "([a-z0-9-]+)"')

# What a running gateway cannot change: keys, or sections of them, as the reload itself has them.
RELOAD = (ROOT / "src/app/reload.rs").read_text()
FIXED = re.findall(r'"([a-z_.]+)"', re.search(r"const FIXED: [^=]*= \[(.*?)\];", RELOAD, re.DOTALL).group(1))

HEAD = """\
# Every key of the configuration

<!-- Made by tests/docs/reference.py from config.toml.example. Change the text there, then run it with --write. -->

One TOML file, `/etc/vestibule/config.toml` unless `--config` names another. Unknown keys are errors.
`vestibule check` names every problem at once, each with its line: see [check.md](check.md).

- **Durations** are whole numbers with a unit: `"90s"`, `"15m"`, `"1h30m"`, `"7d"`.
- **A rate** is how often in how long: `"5/1h"`.
- **A secret** is named, never written here: `{ credential = "NAME" }` of the systemd unit, `{ file = "PATH" }` or
  `{ env = "NAME" }`.
- **on reload**: a change takes effect at `systemctl reload vestibule`. **at a restart**: it waits for
  `systemctl restart vestibule`. A file that `check` would refuse changes nothing.
"""


@dataclass
class Entry:
    name: str
    value: str
    mark: str
    text: list[str] = field(default_factory=list)


@dataclass
class Section:
    name: str
    many: bool
    optional: bool
    text: list[str]
    entries: list[Entry] = field(default_factory=list)


def read(example: str) -> list[Section]:
    """The sections in their order, each with its keys."""
    sections: list[Section] = []
    text: list[str] = []
    for line in example.splitlines():
        if found := SECTION.match(line):
            sections.append(Section(found[3], found[2] == "[[", found[1] == "#", text))
            text = []
        elif found := KEY.match(line):
            sections[-1].entries.append(Entry(found[2], found[3], (found[1] or "").strip(), text))
            text = []
        elif line.startswith("#"):
            text.append(line.removeprefix("#").strip())
        elif not line:
            text = []
        else:
            sys.exit(f"{EXAMPLE.name}: neither a section, a key nor a comment: {line}")
    return sections


def keys(sections: list[Section]) -> set[str]:
    """Every key there is, as SECTION.KEY."""
    return {f"{section.name}.{entry.name}" for section in sections for entry in section.entries}


def kind(section: Section) -> str | None:
    """Which of several sections of one name it is."""
    lines = (f"{entry.name} = {entry.value}" for entry in section.entries[:1])
    return next((found[1] for line in lines if (found := KIND.match(line))), None)


def title(section: Section) -> str:
    name = f"[[{section.name}]]" if section.many else f"[{section.name}]"
    which = kind(section) if section.many else None
    return f"`{name}`" + (f" of kind {which}" if which else "")


def type_of(value: str) -> str:
    if value.startswith("{"):
        return "secret"
    if value.startswith("["):
        return "list of texts"
    if value in ("true", "false"):
        return "true or false"
    if value.isdigit():
        return "whole number"
    if re.fullmatch(r'"\d+/\d+[smhd]"', value):
        return "rate"
    if re.fullmatch(r'"(\d+[smhd])+"', value):
        return "duration"
    if re.fullmatch(r'"\d+[KMG]iB"', value):
        return "size"
    return "text"


def worth(section: Section, entry: Entry) -> str:
    """What it is when nothing is written."""
    if entry.mark == "##":
        return f"no default, example `{entry.value}`"
    if entry.mark == "" and not section.optional:
        return f"must be there, example `{entry.value}`"
    if section.optional:
        return f"`{entry.value}`"
    return f"default `{entry.value}`"


def takes_effect(section: Section, entry: Entry) -> str:
    restart = section.name in FIXED or f"{section.name}.{entry.name}" in FIXED
    return "at a restart" if restart else "on reload"


def paragraph(text: list[str], indent: str = "") -> str:
    return textwrap.fill(" ".join(text), 118, initial_indent=indent, subsequent_indent=indent,
                         break_long_words=False, break_on_hyphens=False)


def print_section(section: Section) -> list[str]:
    out = [f"\n## {title(section)}\n"]
    if section.text:
        out.append(paragraph(section.text) + "\n")
    if section.optional:
        out.append("The section is not there by default; a value is the default where there is one, else an example.\n")
    for entry in section.entries:
        facts = f"{type_of(entry.value)}; {worth(section, entry)}; {takes_effect(section, entry)}"
        out.append(f"- **`{entry.name}`** — {facts}.")
        if entry.text:
            out.append(paragraph(entry.text, "  "))
    return out


def reference() -> str:
    lines = [HEAD.rstrip("\n")]
    for section in read(EXAMPLE.read_text(encoding="utf-8")):
        lines += print_section(section)
    return "\n".join(lines) + "\n"


def main() -> None:
    if sys.argv[1:] == ["--write"]:
        REFERENCE.write_text(reference(), encoding="utf-8")
    else:
        sys.stdout.write(reference())


if __name__ == "__main__":
    main()
