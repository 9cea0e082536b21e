"""Reference for canonical bodies and leaves, written from the format's description alone.

Reads nothing of stampd: takes the columns of stamps as they are stored (below), renders each body
as RFC 8785 JSON, hashes it as an RFC 6962 leaf, and prints one case per line. The output is
committed as golden.jsonl; `python3 golden.py > golden.jsonl` reproduces it byte for byte.
"""

import base64
import datetime
import hashlib
import json

STREAM = "0192a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"
NOON = 1764072000123456789
ONE, TWO = "11" * 32, "22" * 32
AGENT = {"id": "5d9f4a3c-1b2e-4f60-8a7b-9c0d1e2f3a4b", "host": "laptop", "version": "0.1.0"}
PLAIN = {"agent": AGENT, "repo": "app", "namespace": "a.b.c"}
RICH = PLAIN | {
    "labels": {"team": "blau \u20ac", "team.lead": 'say "hi"\n', "a-b": "\u0001\u007f"},
    "git": {"head": "ab" * 20, "branch": "main"},
    "file": {"content_type": "text/x-rust", "language": "rust"},
}
BRIDGE = {"agent": AGENT, "namespace": "a.b.c", "file": {"content_type": "text/markdown"}}


def case(context, kind, **columns):
    return {"context": context, "kind": kind, **columns}


CASES = [
    case(PLAIN, "opened", detail={"previous": {"stream": STREAM, "size": 7, "leaf": ONE}}),
    case(PLAIN, "started", detail={"since": NOON - 1}),
    case(RICH, "created", path=b"src/main.rs", digest=ONE, size=0, mode=0o644, mtime=0),
    case(RICH, "modified", path="ä/\u20ac \U0001f600.rs".encode(), digest=TWO, prev=ONE,
         size=2**53 - 1, mode=0o7755, mtime=-1),
    case(PLAIN, "modified", path=b"big", digest=TWO, prev=ONE, size=2**53, mode=0, mtime=NOON),
    case(PLAIN, "renamed", path=b"b\xff\xc3(", from_path=b"a\n\t\"\\\x1b", digest=ONE, prev=ONE,
         size=3, mode=0o600, mtime=NOON),
    case(PLAIN, "attributes", path=b"x", digest=ONE, prev=ONE, size=3, mode=0o755, mtime=NOON),
    case(PLAIN, "symlink", path=b"l", size=4, mode=0o777, mtime=NOON,
         detail={"target": list(b"../\xfe")}),
    case(PLAIN, "unstable", path=b"log", prev=ONE, size=9, mode=0o644, mtime=NOON),
    case(PLAIN, "skipped", path=b"pipe", detail={"reason": "special"}),
    case(PLAIN, "deleted", path=b"x", prev=ONE),
    case(PLAIN, "coverage",
         detail={"reason": "overflow", "since": NOON - 10**9, "until": NOON}),
    case(PLAIN, "stopped"),
    # stamp_id: the first half, as UUIDv8, of BLAKE3 (by the package blake3) of
    # "a.b.c\0" + ONE + "\0" + the place.
    case(BRIDGE, "api", digest=ONE, size=2**53 + 1,
         detail={"place": "/srv/../ä \U0001f600.md", "api": {
             "stamp_id": "ea402955-14a8-8fc1-89e9-f9dfb296f250", "digest_of": "onex-text", "content_hash": TWO,
             "correlation_id": "r\u00e9q \"1\"", "op_id": "00000000-0000-0000-0000-000000000009",
             "version": -3, "metadata_version": "0.1", "protocol_version": "1.0",
             "stamp": "# ONEX:uid=x", "stamp_type": "lightweight",
             "metadata": '{"ratio":0.5,"a":{"b":[1e3,null]}}', "stamp_data": '{"k":"\\u0001"}',
             "intelligence": "{}"}}),
    case({"agent": AGENT, "namespace": "a.b.c"}, "api", digest=TWO,
         detail={"api": {
             "stamp_id": "3b67abac-6524-8dd3-8543-1a0d1e89f540", "digest_of": "claimed",
             "version": 1, "metadata_version": "0.1", "protocol_version": "1.0"}}),
]


def time(nanos):
    seconds, rest = divmod(nanos, 10**9)
    day = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=seconds)
    return f"{day:%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


def integer(value):
    return str(value) if value >= 2**53 else value


def raw(key, data, body):
    body[key] = data.decode("utf-8", "replace")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        body[key + "_b64"] = base64.b64encode(data).decode()


def render(seq, row):
    body = dict(row["context"])
    body |= {"v": 1, "stream": STREAM, "seq": seq, "kind": row["kind"]}
    body |= {"seen": time(NOON + seq), "stamped": time(NOON + 2 * seq)}
    body |= {key: row[key] for key in ("digest", "prev") if key in row}
    body |= {key: integer(row[key]) for key in ("size", "mode") if key in row}
    if "mtime" in row:
        body["mtime"] = time(row["mtime"])
    for key, column in (("path", "path"), ("from", "from_path")):
        if column in row:
            raw(key, row[column], body)
    detail = row.get("detail", {})
    if "target" in detail:
        raw("target", bytes(detail["target"]), body)
    body |= {key: detail[key] for key in ("reason", "previous", "api") if key in detail}
    if "place" in detail:
        body["path"] = detail["place"]
    if detail.get("api", {}).get("digest_of") == "claimed":
        body["claimed"] = True
    body |= {key: time(detail[key]) for key in ("since", "until") if key in detail}
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def stored(seq, row):
    columns = {"seen": NOON + seq, "stamped": NOON + 2 * seq}
    for key, value in row.items():
        columns[key] = value.hex() if isinstance(value, bytes) else value
    if "detail" in row:
        columns["detail"] = {
            key: time(value) if key in ("since", "until") else value
            for key, value in row["detail"].items()
        }
    return columns


for seq, row in enumerate(CASES):
    body = render(seq, row)
    leaf = hashlib.sha256(b"\0" + body.encode()).hexdigest()
    print(json.dumps({"columns": stored(seq, row), "body": body, "leaf": leaf}, sort_keys=True))
