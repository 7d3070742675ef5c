#!/usr/bin/env python3
"""Holds the documents against what they speak of; every mistake is named, and the exit code is 1 if there is one.

- docs/configuration.md is what reference.py makes of config.toml.example now.
- Each key of a ```toml block is in config.toml.example, and each block that is a whole file, or a whole [[route]],
  passes `vestibule check` (of the binary VESTIBULE_BIN; without it this part is left out, and said so).
- Each relative link leads to a file, and to a heading in it.
- Each `src/…`, `tests/…` and the like that is named is there.
- What docs/troubleshooting.md puts between “ ” stands so in the sources or the templates; … there is what differs.
"""

import os
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

sys.dont_write_bytecode = True
import reference  # noqa: E402  (it lies beside this file)

ROOT = reference.ROOT
QUOTING = ROOT / "docs" / "troubleshooting.md"
FENCE = re.compile(r"^ *```(\w*)[^\n]*\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.+?)\s*$", re.MULTILINE)
QUOTE = re.compile(r"“([^”]+)”")
PATH = re.compile(r"`((?:src|tests|benches|systemd|migrations|packaging)/[\w./-]+)`")
CREDENTIAL = re.compile(r'credential = "([^"]+)"')
FILE = re.compile(r'"(/etc/[^"]+\.(?:pem|key))"')

mistakes: list[str] = []


def wrong(document: Path, what: str) -> None:
    mistakes.append(f"{document.relative_to(ROOT)}: {what}")


def documents() -> list[Path]:
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def the_reference_is_new() -> None:
    if reference.REFERENCE.read_text(encoding="utf-8") != reference.reference():
        wrong(reference.REFERENCE, "does not match config.toml.example; run: tests/docs/reference.py --write")


def blocks(text: str, language: str) -> list[str]:
    return [body for name, body in FENCE.findall(text) if name == language]


def keys_of(table: dict, name: str = "") -> list[str]:
    """Every key as SECTION.KEY; a table that is a secret is a value."""
    found = []
    for key, value in table.items():
        path = f"{name}.{key}" if name else key
        if isinstance(value, dict) and not value.keys() <= {"credential", "file", "env"}:
            found += keys_of(value, path)
        elif isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            for item in value:
                found += keys_of(item, path)
        else:
            found.append(path)
    return found


def the_keys_are_known(document: Path, text: str, known: set[str]) -> None:
    for block in blocks(text, "toml"):
        try:
            table = tomllib.loads(block)
        except tomllib.TOMLDecodeError as error:
            wrong(document, f"a toml block is none: {error}")
            continue
        for key in keys_of(table):
            # A block may show keys of a section without its head, or sentences of a catalogue.
            lone = "." not in key and any(one.endswith(f".{key}") for one in known)
            if key not in known and not lone and document.name != "templates.md":
                wrong(document, f"config.toml.example has no key {key}")


AROUND = """\
[server]
listen = ["127.0.0.1:8443"]
public_url = "https://wiki.example.com"
{routes}
[[provider]]
kind = "twilio"
account_sid = "AC00000000000000000000000000000000"
auth_token = {{ credential = "twilio-auth-token" }}
service_sid = "VA00000000000000000000000000000000"
"""


def as_a_whole(block: str) -> str | None:
    """The configuration that a block is, or that one of routes alone would be a part of."""
    server, route, provider = (f"\n{head}\n" in f"\n{block}" for head in ("[server]", "[[route]]", "[[provider]]"))
    if server and route and provider:
        return block
    return AROUND.format(routes=block) if route and "upstream = [" in block and not server and not provider else None


def the_whole_files_pass(document: Path, text: str, binary: str, place: Path) -> None:
    for block in filter(None, map(as_a_whole, blocks(text, "toml"))):
        for path in FILE.findall(block):
            ours = place / Path(path).name
            block = block.replace(path, str(ours))
            if not ours.exists():
                ours.write_bytes((place / ("privkey.pem" if "key" in ours.name else "fullchain.pem")).read_bytes())
        for name in CREDENTIAL.findall(block):
            (place / name).write_text("0123456789abcdef0123456789abcdef\n", encoding="utf-8")
        file = place / "config.toml"
        file.write_text(block, encoding="utf-8")
        command = [binary, "check", "--config", file]
        environment = {**os.environ, "CREDENTIALS_DIRECTORY": str(place), "STATE_DIRECTORY": str(place / "state")}
        answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if answer.returncode != 0:
            wrong(document, f"`vestibule check` refuses a whole file:\n{answer.stdout}{answer.stderr}")


def make_certificates(place: Path) -> None:
    """What the files of the documents are in place of those of their reader."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
               "-days", "30", "-subj", "/CN=wiki.example.com", "-addext", "subjectAltName=DNS:wiki.example.com",
               "-keyout", place / "privkey.pem", "-out", place / "fullchain.pem"]
    subprocess.run(command, check=True, capture_output=True)


def slug(heading: str) -> str:
    """The anchor that forges make of a heading."""
    words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
    return re.sub(r"[^\w\- ]", "", words).replace(" ", "-")


def anchors(document: Path) -> set[str]:
    text = FENCE.sub("", document.read_text(encoding="utf-8"))
    found: set[str] = set()
    for heading in HEADING.findall(text):
        name, count = slug(heading), 0
        while (one := name if count == 0 else f"{name}-{count}") in found:
            count += 1
        found.add(one)
    return found


def the_links_lead_somewhere(document: Path, text: str) -> None:
    for link in LINK.findall(FENCE.sub("", text)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        if not target.exists():
            wrong(document, f"nothing is at {link}")
        elif anchor and target.suffix == ".md" and anchor not in anchors(target):
            wrong(document, f"no heading for {link}")


def the_paths_are_there(document: Path, text: str) -> None:
    for path in PATH.findall(text):
        if Path(path).stem != "x" and not (ROOT / path).exists():
            wrong(document, f"nothing is at {path}")


def sources() -> str:
    """All that the program can say, with the strings that go over several lines in one."""
    texts = []
    for file in sorted((ROOT / "src").rglob("*.rs")):
        code = file.read_text(encoding="utf-8").partition("#[cfg(test)]\nmod tests {")[0]
        code = re.sub(r"\\\n\s*", "", code)
        texts.append(code.replace('\\"', '"'))
    texts += [file.read_text(encoding="utf-8") for file in sorted((ROOT / "templates").rglob("*")) if file.is_file()]
    return re.sub(r"\s+", " ", "\n".join(texts))


def the_quotes_are_true() -> None:
    said = sources()
    for quote in QUOTE.findall(QUOTING.read_text(encoding="utf-8")):
        for part in re.sub(r"\s+", " ", quote).split("…"):
            if part.strip() and part.strip() not in said:
                wrong(QUOTING, f"nobody says: {part.strip()}")


def main() -> None:
    known = reference.keys(reference.read(reference.EXAMPLE.read_text(encoding="utf-8")))
    the_reference_is_new()
    the_quotes_are_true()
    binary = os.environ.get("VESTIBULE_BIN")
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        if binary:
            make_certificates(place)
        for document in documents():
            text = document.read_text(encoding="utf-8")
            the_keys_are_known(document, text, known)
            the_links_lead_somewhere(document, text)
            the_paths_are_there(document, text)
            if binary:
                the_whole_files_pass(document, text, binary, place)
    print("\n".join(mistakes) or f"{len(documents())} documents hold")
    if not binary:
        print("whole configurations were NOT given to `vestibule check`: VESTIBULE_BIN names no binary")
    sys.exit(bool(mistakes))


if __name__ == "__main__":
    main()
