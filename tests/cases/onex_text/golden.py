"""Reference for stamps inside texts, written from the format's patterns with Python's `re`.

Reads nothing of stampd. Prints one case per line: a text, its canonical text and the hash of that,
and each stamp with every hash that it says. The output is committed as golden.jsonl; `python3
golden.py > golden.jsonl` reproduces it byte for byte, given the blake3 package.
"""

import json
import random
import re

from blake3 import blake3

LINE = re.compile(r"# ONEX:uid=([A-Za-z0-9_-]+),hash=([A-Za-z0-9]+),ts=([0-9T:\-+.]+).*")
BLOCK = re.compile(
    r"<!--\s*ONEX_METADATA_START\s*-->(.*?)<!--\s*ONEX_METADATA_END\s*-->", re.DOTALL)


def digest(text):
    return blake3(text.encode()).hexdigest()


def said(inner):
    """The hashes that a block says."""
    hashes = []
    for line in inner.split("\n"):
        key, colon, value = line.strip().partition(":")
        if colon and not key.startswith("<!--") and key.strip() == "hash" and value.strip():
            hashes.append(value.strip())
    return hashes


def case(text):
    unlined = LINE.sub("", text)
    canonical = re.sub(r"\n{3,}", "\n\n", BLOCK.sub("", unlined)).strip()
    stamps = [["lightweight", [match.group(2)]] for match in LINE.finditer(text)]
    stamps += [["rich", said(match.group(1))] for match in BLOCK.finditer(unlined)]
    return {"text": text, "canonical": canonical, "hash": digest(canonical), "stamps": stamps}


def line(content, tail=""):
    """A content with a line as existing programs write it."""
    hash = digest(content.strip())
    return f"# ONEX:uid=3fd9bef3-0d0a-4bb4-8f5a-1d2c3b4a5f6e,hash={hash},ts=2025-09-30T20:05:21.123456+00:00{tail}\n{content}"


def block(content, path="None", extra=""):
    """A content with a block as existing programs write it."""
    hash, size = digest(content.strip()), len(content.strip().encode())
    return (
        f"{content}\n\n<!-- ONEX_METADATA_START -->\n<!-- ONEX Metadata Stamp\n"
        "  uid: 3fd9bef3-0d0a-4bb4-8f5a-1d2c3b4a5f6e\n"
        f"  hash: {hash}\n  timestamp: 2025-09-30T20:05:21.123456+00:00\n"
        f"  protocol_version: 1.0\n  file_path: {path}\n  file_size: {size}\n{extra}"
        f"  integrity:\n    algorithm: BLAKE3\n    hash: {hash}\n-->\n"
        "<!-- ONEX_METADATA_END -->")


S, E = "<!-- ONEX_METADATA_START -->", "<!-- ONEX_METADATA_END -->"
L = "# ONEX:uid=u,hash=h,ts=1"
WRITTEN = [
    # As existing programs write them.
    "", "Hello World", "Hello World\n", "\n\n\nHello\n\n\n\nWorld \t\n",
    line("Hello World"), line("Hello World\n"), line("a\r\nb\r\n", ",author=ada,v=1.2"),
    block("Hello World"), block("# T\n\ntext\n", "/a/b.md", "  content_type: text/markdown\n"),
    line(block("both")), block(line("both")), line(line("twice")),
    line("time without microseconds").replace(".123456+00:00", "+00:00"),
    line("time in Z").replace("+00:00", "Z"),
    line("tampered").replace("tampered", "altered"),
    # Where a stamp begins and ends.
    f"code() {L}\nmore\n", f"a\n{L}\nb", f"{L}", f"{L}\r\na", f"{L}\u2028same line\nnext",
    f"# {L}", f"{L}{L}", f"# ONEX:uid=# ONEX:uid=u,hash=h,ts=1", "# ONEX:uid=u,hash=h-,ts=1\n",
    "# ONEX:uid=u,hash=h,ts=\n1", "# onex:uid=u,hash=h,ts=1", "# ONEX:uid=\u00fc,hash=h,ts=1",
    f"{S}{E}", f"a{S}b{S}c{E}d{E}e", f"{E}{S}", f"{S}", f"{S}\nnever ends\n", f"x{S}y{E}{S}z{E}w",
    "<!--ONEX_METADATA_START--><!--ONEX_METADATA_END-->",
    "<!--\n\t\u3000\u001cONEX_METADATA_START\u00a0--><!--\u2009ONEX_METADATA_END\n-->",
    "<!--\u200bONEX_METADATA_START--><!--ONEX_METADATA_END-->",
    "<!-- onex_metadata_start --><!-- onex_metadata_end -->",
    f"<!--{S}{E}-->", f"{S}\n  hash: a\n    hash: b\n{E}", f"{S}\n  hash:\n{E}",
    f"{S}\n<!-- x hash: a\n hash : b : c \n{E}",
    # One within the other, or made by the removal of the other.
    f"{S}\n{L}\n{E}", f"{L} {S}\nkept\n{E}", f"<!--{L}\n ONEX_METADATA_START -->gone{E}",
    f"# ONEX:uid=u{S}{E},hash=h,ts=1", f"<!-- ONEX_METADATA_{S}{E}START -->{E}",
    # White space at the ends is Python's; between, only newlines count.
    "\u001c\u001d\u001e\u001f\u0085\u00a0\u2003\u3000x\u3000\u001f", "\u200b\ufeffx\u200b",
    "a\n\n\n\n\nb\n\n\nc\n\nd\ne", "a\n \n \n\nb", "a\r\n\r\n\r\n\r\nb", "a\n\n\n", "\n\n\n",
]
BITS = ["# ONEX:uid=", L, "u", ",hash=", ",ts=", "1", "<!--", "-->", "ONEX_METADATA_START",
        "ONEX_METADATA_END", S, E, " hash: 0\n", "\n", "\n\n", "\r\n", " ", "\u001c", "\u00a0", "é"]


def main():
    dice = random.Random(80)
    made = ["".join(dice.choices(BITS, k=dice.randrange(2, 24))) for _ in range(1200)]
    # Most throws hold nothing of interest; these do.
    made = [text for text in made if len(case(text)["stamps"]) > 0][:300]
    for text in WRITTEN + made:
        print(json.dumps(case(text), ensure_ascii=True, separators=(",", ":")))


main()
