#!/usr/bin/env python3
"""An adb that owns one phone: it records every call and answers as the file beside it says.

``adb.json``: ``devices`` (serial to state), ``files`` (what lies on the phone), ``nproc``, ``prop``, ``outputs`` (part
of the benchmark's command line to what it prints, in turn), ``exit`` (part of it to an exit code), ``gone``.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path

HOME = Path(__file__).parent
WORDS = sys.argv[1:]


def fail(text: str) -> None:
    print(text, file=sys.stderr)
    sys.exit(1)


def shell(command: str, state: dict) -> tuple[int, str]:
    """Do what the phone would; return exit code and output."""
    if command == "nproc":
        return 0, f"{state['nproc']}\n"
    words = shlex.split(command)
    if words[0] == "test":
        return int(words[2] not in state["files"]), ""
    if words[0] in ("mkdir", "chmod", "rm"):
        return 0, ""
    if words[0] not in state["files"]:
        return 127, f"/system/bin/sh: {words[0]}: not found\n"
    code = next((code for part, code in state["exit"].items() if part in command), 0)
    for part, outputs in state["outputs"].items():
        if part in command:
            text = outputs.pop(0) if len(outputs) > 1 else outputs[0]
            (HOME / "adb.json").write_text(json.dumps(state))
            return code, text
    return code, "no such graph\n"


def main() -> None:
    state = json.loads((HOME / "adb.json").read_text())
    with (HOME / "calls.jsonl").open("a") as stream:
        stream.write(json.dumps(WORDS) + "\n")
    if WORDS == ["devices"]:
        print("List of devices attached")
        print("\n".join(f"{serial}\t{name}" for serial, name in state["devices"].items()) + "\n")
        return
    assert WORDS[0] == "-s"
    if state.get("gone") and state["gone"] in " ".join(WORDS):
        fail(f"error: device '{WORDS[1]}' not found")
    if WORDS[2] == "push":
        if not Path(WORDS[3]).exists():
            fail(f"adb: error: cannot stat '{WORDS[3]}': No such file or directory")
        state["files"].append(WORDS[4])
        (HOME / "adb.json").write_text(json.dumps(state))
        print(f"{WORDS[3]}: 1 file pushed, 0 skipped.")
        return
    assert WORDS[2] == "shell"
    if WORDS[3] == "getprop":
        print("\n".join(f"[{key}]: [{value}]" for key, value in state["prop"].items()))
        return
    found = re.fullmatch(r"(.*) 2>&1; echo (\S+)\$\?", WORDS[3], re.DOTALL)
    assert found is not None, WORDS[3]
    code, text = shell(found[1], state)
    print(f"{text}{found[2]}{code}")


main()
