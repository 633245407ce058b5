#!/usr/bin/env python3
"""Makes a component of a folder's Python: build.py FOLDER WORLD [OUTPUT]

FOLDER/FOLDER_plugin.py is compiled against the world, without WASI; FOLDER/schema.json goes into the component.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
WIT = HERE / "../../../wit/0.1.0"


def main(folder, world, output=None):
    output = pathlib.Path(output or HERE / folder / f"{folder}.wasm")
    # Beside this Python, so that no virtual environment has to be active.
    program = pathlib.Path(sys.executable).with_name("componentize-py")
    with tempfile.TemporaryDirectory() as scratch:
        built = pathlib.Path(scratch) / "plugin.wasm"
        command = [program, "--quiet", "--wit-path", WIT, "--world", world, "componentize", "--stub-wasi"]
        command += ["--python-path", HERE / folder, "--python-path", HERE, "--output", built, f"{folder}_plugin"]
        subprocess.run(command, check=True, cwd=scratch, env={"PYTHONDONTWRITEBYTECODE": "1"})
        component = built.read_bytes()
    schema = json.dumps(json.loads((HERE / folder / "schema.json").read_text()), separators=(",", ":"))
    component += custom_section("floorhand:schema", schema.encode())
    output.write_bytes(component)
    print(f"{output}: {len(component)} bytes")


def custom_section(name, data):
    """One may stand at the end of any component: 0, the length of the rest, the name with its length, the data."""
    named = length(len(name)) + name.encode() + data
    return b"\0" + length(len(named)) + named


def length(value):
    """As WebAssembly writes it: seven bits a byte, the lowest first."""
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


if __name__ == "__main__":
    if not 3 <= len(sys.argv) <= 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
