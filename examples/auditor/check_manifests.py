#!/usr/bin/env python3
"""Recomputes manifests from an export of ClickHouse, without this project's code: python3 check_manifests.py manifests.jsonl events.jsonl

Both files are what ClickHouse writes as JSONEachRow (README.md has the commands). With --key=public.pem, it checks the signatures
by openssl. It prints a line for each hour, and exits with 1 where something is not as the manifests say.
"""
import base64, hashlib, json, subprocess, sys, tempfile
from calendar import timegm
from collections import Counter, defaultdict
from datetime import datetime

FIELDS = ("source number hour part events first_lsn last_lsn last_delivered_at witnessed delivered added absent "
          "made_at previous key_id").split()


def rows(path):
    with open(path, encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            if line.strip():
                yield json.loads(line)


def us(time):
    """Microseconds since 1970 of `2026-11-30 21:00:00.123456`, which is UTC."""
    seconds, _, fraction = time.partition(".")
    return timegm(datetime.strptime(seconds, "%Y-%m-%d %H:%M:%S").timetuple()) * 1_000_000 + int((fraction + "000000")[:6])


def utf8(text):
    return text.encode("utf-8", "surrogateescape")


def witnessed(e):
    """SHA-256 of what Postgres and ClickHouse both have of an event."""
    texts = [utf8(e["event_type"]), utf8(e["environment"]), utf8(e["subject"]), utf8(e["trace_id"] + e["span_id"]), utf8(e["recorded_by"])]
    numbers = [e["event_id"], us(e["event_date_time"]), us(e["recorded_at"]), int(e["metadata_version"]), *map(len, texts)]
    head = " ".join(map(str, numbers)) + " "
    return hashlib.sha256(head.encode() + b"".join(texts) + utf8(e["event_context_text"])).digest()


def delivered(e):
    """SHA-256 of what only ClickHouse has of it."""
    source = utf8(e["source"])
    numbers = [int(e["lsn"]), int(e["seq"]), us(e["committed_at"]), us(e["delivered_at"]), len(source)]
    return hashlib.sha256((" ".join(map(str, numbers)) + " ").encode() + source + utf8(e["origin"])).digest()


def text_of(m):
    """The exact bytes that a manifest's hash and signature cover."""
    values = {**m, "hour": m["hour"].replace(" ", "T") + "Z", "added": ",".join(m["added"]), "absent": ",".join(m["absent"]),
              "last_delivered_at": us(m["last_delivered_at"]), "made_at": us(m["made_at"])}
    return ("pg-outbox-clickhouse manifest 1\n" + "".join(f"{name} {values[name]}\n" for name in FIELDS)).encode()


def is_signed(m, key):
    with tempfile.NamedTemporaryFile() as text, tempfile.NamedTemporaryFile() as signature:
        text.write(text_of(m)), signature.write(base64.b64decode(m["signature"])), text.flush(), signature.flush()
        command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", key, "-rawin", "-in", text.name, "-sigfile", signature.name]
        return subprocess.run(command, capture_output=True).returncode == 0


def check(manifests, events, key):
    found = defaultdict(list)
    for e in events:
        if "event_id" not in e:  # all that an erasure has left
            found[e["source"], e["hour"]].append((bytes.fromhex(e["witnessed"]), bytes.fromhex(e["delivered"])))
            continue
        found[e["source"], e["recorded_at"][:13] + ":00:00"].append((witnessed(e), delivered(e)))
    chains, latest = {}, {}
    for m in sorted(manifests, key=lambda m: (m["source"], int(m["number"]))):
        number, previous = chains.get(m["source"], (0, "0" * 64))
        faults = []
        if int(m["number"]) != number + 1 or m["previous"] != previous:
            faults.append("the chain is broken")
        if hashlib.sha256(text_of(m)).hexdigest() != m["hash"]:
            faults.append("the manifest was altered")
        if key and not is_signed(m, key):
            faults.append("the signature is not of this key")
        chains[m["source"]] = int(m["number"]), m["hash"]
        latest[m["source"], m["hour"]] = m, faults
    for hour in sorted(set(found) - set(latest)):
        first, last = (choose(h for s, h in latest if s == hour[0]) for choose in (lambda h: min(h, default=""), lambda h: max(h, default="")))
        if first < hour[1] < last:
            yield hour, ["no manifest of the hour"]
    for hour, (m, faults) in sorted(latest.items()):
        pairs, late = sorted(found[hour]), Counter(m["absent"])
        whole = hashlib.sha256(b"".join(w for w, _ in pairs)).hexdigest()
        if whole == m["witnessed"]:
            if hashlib.sha256(b"".join(w + d for w, d in pairs)).hexdigest() != m["delivered"]:
                faults.append("positions or times of delivery were altered")
        else:
            # out of quarantine since: a further part is to come
            rest = [w for w, _ in pairs if late[w.hex()] == 0 or late.subtract([w.hex()])]
            if hashlib.sha256(b"".join(rest)).hexdigest() != m["witnessed"]:
                faults.append(f"{len(pairs)} events, which are not the {m['events']} of the manifest")
        yield hour, faults


if __name__ == "__main__":
    arguments = [a for a in sys.argv[1:] if not a.startswith("--key=")]
    key = next((a[6:] for a in sys.argv[1:] if a.startswith("--key=")), None)
    broken = False
    for (source, hour), faults in check(rows(arguments[0]), rows(arguments[1]), key):
        print(source, hour, "; ".join(faults) or "intact")
        broken = broken or bool(faults)
    sys.exit(1 if broken else 0)
