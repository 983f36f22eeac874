"""`python -m tests.collector.apart.fakes LINE`: a process that maps, and does what MAPPING_FAKE says instead."""

from __future__ import annotations

import contextlib
import marshal
import os
import socket
import struct
import sys
import time

from collector.apart.line import Line


def main() -> None:
    connected = socket.socket(fileno=int(sys.argv[1]))
    line = Line(connected)
    does = os.environ["MAPPING_FAKE"]
    line.hear()
    line.say("ready" if does != "refuses" else "no")
    while True:
        line.hear()
        match does:
            case "dies":
                os._exit(3)
            case "hangs":
                time.sleep(60)
            case "fails":
                line.say("it can not be done")
            case "says too little":
                line.say(([], [], 0, {}, ({}, {}, 0, 0)))
            case "says nonsense":
                line.say({"a": 1})
            case "says a long frame":
                connected.sendall(struct.pack("<Q", 1 << 60))
            case "says no values":
                connected.sendall(struct.pack("<Q", 4) + b"\xff\xff\xff\xff")
            case "sends half":
                connected.sendall(struct.pack("<Q", 100) + marshal.dumps("ready"))
                os._exit(0)


if __name__ == "__main__":
    with contextlib.suppress(EOFError):
        main()
