"""Wire capture: every message of a call, in each direction, in a file. Opt-in; for debugging."""

from collector.proxy.wire.capture import WireCapture
from collector.proxy.wire.encoding import FORMATS

__all__ = ["FORMATS", "WireCapture"]
