#!/bin/sh
# Checks every signature, every hash of the index and the chain. Needs openssl 3 and python3.
set -eu
cd "$(dirname "$0")"
exec python3 - <<'PYTHON'
import base64, csv, hashlib, json, pathlib, subprocess, sys, tempfile

problems, outside, seen = [], 0, {}
rows = list(csv.DictReader(open("index.csv", newline="")))

for path in sorted(pathlib.Path("evidence").rglob("*.json")):
    content = path.read_bytes()
    seen[path.as_posix()] = hashlib.sha256(content).hexdigest()
    try:
        document = json.loads(content)
        begin, end = len(b'{"payload":'), content.rindex(b',"signature":')
        message = b"regrow-evidence-v1\n" + content[begin:end]
        signature, key = document["signature"], pathlib.Path("keys") / (document["signature"]["key"] + ".pem")
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            (folder / "message").write_bytes(message)
            (folder / "signature").write_bytes(base64.b64decode(signature["value"]))
            command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", str(key), "-rawin", "-in",
                       str(folder / "message"), "-sigfile", str(folder / "signature")]
            if subprocess.run(command, capture_output=True).returncode != 0:
                problems.append(f"{path}: the signature is not valid")
        payload = document["payload"]
        name = payload["recorded_at"][:19].replace("-", "").replace(":", "") + "Z-" + payload["kind"] + "-" + payload["id"]
        if path.stem != name:
            problems.append(f"{path}: it is the record {name}")
    except (ValueError, KeyError, TypeError, OSError) as error:
        problems.append(f"{path}: {error}")

for row in rows:
    if row["key"] not in seen:
        problems.append(f"{row['key']}: it is missing")
    elif seen[row["key"]] != row["sha256"]:
        problems.append(f"{row['key']}: it is not what the index says")
for path in seen:
    if path not in {row["key"] for row in rows}:
        problems.append(f"{path}: the index does not name it")
    try:
        for before in json.loads(pathlib.Path(path).read_bytes())["payload"]["previous"]:
            if before["key"] not in seen:
                outside += 1
            elif seen[before["key"]] != before["sha256"]:
                problems.append(f"{before['key']}: a later record names another content")
    except (ValueError, KeyError, TypeError):
        pass  # It has been told.

for problem in problems:
    print("PROBLEM:", problem)
print(f"{len(seen)} records checked, {len(problems)} problems, {outside} named records lie outside of this folder")
sys.exit(1 if problems else 0)
PYTHON
