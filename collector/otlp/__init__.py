"""OTLP on the wire: requests in protobuf and JSON, checked, transcoded and decoded; responses and errors."""

from collector.otlp.check import Checked, NotOtlpError, check
from collector.otlp.decode import decode_logs, decode_traces, parse_traces, spans_of
from collector.otlp.json.transcode import transcode
from collector.otlp.signal import Signal

__all__ = [
    "Checked",
    "NotOtlpError",
    "Signal",
    "check",
    "decode_logs",
    "decode_traces",
    "parse_traces",
    "spans_of",
    "transcode",
]
