"""Lines of the conformance list about JSON (J), the data model (P), failures (F) and gRPC (G), against the parts that
hold them; those that need a whole collector are in test_http and test_grpc."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import time
from collections.abc import Callable
from hashlib import blake2b
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest
from google.rpc.status_pb2 import Status
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

import collector.receivers.grpc as grpc_receiver
from collector.intake.intake import ADMISSION_S, COMMIT_S, Intake, Submission
from collector.intake.memory import Budget
from collector.intake.outcome import Outcome, Verdict
from collector.otlp import NotOtlpError, Signal, check, decode_logs, decode_traces, transcode
from collector.otlp.status import JSON, PROTOBUF
from collector.otlp.wire import nested
from collector.receivers.grpc import Connections, GrpcReceiver
from mappers.model import Span
from tests.collector.receivers.posting import posted, said
from tests.corpus import select
from tests.otlp_json import to_json
from tests.sending import TRACES
from tests.waiting import PATIENCE_S

IDS = {"traceId": "aB" * 16, "spanId": "Cd" * 8}


def spans_of(*spans: dict[str, Any], **document: Any) -> list[Span]:
    scope = {"spans": [IDS | span for span in spans]}
    body = json.dumps({"resourceSpans": [{"scopeSpans": [scope]}]} | document).encode()
    return decode_traces(transcode(Signal.TRACES, body).body)


def rejected(span: dict[str, Any]) -> str:
    body = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [IDS | span]}]}]}).encode()
    checked = transcode(Signal.TRACES, body)
    assert (checked.accepted, checked.rejected) == (0, 1)
    return checked.reasons


def valued(value: Any) -> Any:
    [span] = spans_of({"attributes": [{"key": "k", "value": value}]})
    return span.attributes["k"]


# --------------------------------------------------------------------------- JSON


def test_J1_ids_in_any_letter_case_are_the_same_ids() -> None:
    [span] = spans_of({"parentSpanId": "FF" * 8})
    assert (span.trace_id, span.span_id, span.parent_span_id) == ("ab" * 16, "cd" * 8, "ff" * 8)


@pytest.mark.parametrize(
    ("ids", "reason"),
    [
        ({"traceId": "xy" * 16}, "an id is not hex"),
        ({"traceId": "a" * 31}, "an id is not hex"),
        ({"spanId": "ab"}, "span id is not 8 bytes"),
        ({"traceId": "EjRWeJCrze8SNFZ4kKvN7w=="}, "looks like base64"),
    ],
)
def test_J2_a_wrong_id_costs_its_span(ids: dict[str, str], reason: str) -> None:
    assert reason in rejected(ids)


@pytest.mark.parametrize("number", [1_500_000_000, "1500000000", 1.5e9, "1.5e9", "1500000000.0", "15E+8"])
def test_J3_integers_come_as_numbers_and_texts(number: Any) -> None:
    [span] = spans_of({"startTimeUnixNano": number})
    assert span.start_ns == 1_500_000_000
    assert valued({"intValue": number}) == 1_500_000_000


@pytest.mark.parametrize("number", ["1_000", " 1 ", "1.5", "1e999", "inf", "nan", "0x10", "٣", [1], {}])
def test_J3_what_is_no_integer_costs_its_span(number: Any) -> None:
    assert rejected({"attributes": [{"key": "k", "value": {"intValue": number}}]})


def test_J3_integers_out_of_range_cost_their_span() -> None:
    assert rejected({"attributes": [{"key": "k", "value": {"intValue": str(2**63)}}]})


def test_J4_enums_come_as_numbers_names_and_unknown_numbers() -> None:
    kinds = [span.kind for span in spans_of({"kind": 3}, {"kind": "SPAN_KIND_CLIENT"}, {"kind": 77})]
    assert kinds == [3, 3, 77]
    [span] = spans_of({"status": {"code": "STATUS_CODE_ERROR"}})
    assert span.status_code == 2


def test_J5_unknown_fields_are_ignored_at_every_level() -> None:
    body = {
        "new": 1,
        "resourceSpans": [
            {
                "new": {},
                "resource": {"new": [], "attributes": []},
                "scopeSpans": [{"new": 1, "scope": {"new": 1}, "spans": [IDS | {"new": {"a": [1]}}]}],
            }
        ],
    }
    assert transcode(Signal.TRACES, json.dumps(body).encode()).accepted == 1


def test_J6_snake_case_names_are_taken() -> None:
    span = {"trace_id": "ab" * 16, "span_id": "cd" * 8, "start_time_unix_nano": 5, "parent_span_id": "ef" * 8}
    body = {"resource_spans": [{"scope_spans": [{"spans": [span]}]}]}
    [decoded] = decode_traces(transcode(Signal.TRACES, json.dumps(body).encode()).body)
    assert (decoded.start_ns, decoded.parent_span_id) == (5, "ef" * 8)


@pytest.mark.parametrize("written", ['"NaN"', "NaN"])
def test_J7_numbers_that_are_none_are_taken(written: str) -> None:
    span = json.dumps(IDS)[:-1] + f', "attributes": [{{"key": "k", "value": {{"doubleValue": {written}}}}}]}}'
    body = '{"resourceSpans": [{"scopeSpans": [{"spans": [' + span + "]}]}]}"
    [decoded] = decode_traces(transcode(Signal.TRACES, body.encode()).body)
    assert math.isnan(decoded.attributes["k"])  # type: ignore[arg-type]  # a number, by what was sent
    assert valued({"doubleValue": "-Infinity"}) == -math.inf
    assert valued({"doubleValue": None}) is None


@pytest.mark.parametrize("text", ["+/+/AA==", "-_-_AA", "+/+/AA"])
def test_J8_bytes_come_in_both_alphabets_with_or_without_padding(text: str) -> None:
    assert valued({"bytesValue": text}) == b"\xfb\xff\xbf\x00"


def test_J9_null_is_absent() -> None:
    [span] = spans_of(
        {"name": None, "attributes": None, "events": None, "status": None, "kind": None, "parentSpanId": None}
    )
    assert (span.name, len(span.attributes), span.kind) == ("", 0, 0)


def test_J10_an_empty_value_is_null() -> None:
    assert valued({}) is None
    [span] = spans_of({"attributes": [{"key": "k"}]})
    assert span.attributes["k"] is None
    assert "k" in span.attributes


def test_J11_half_a_surrogate_pair_costs_a_character() -> None:
    body = (
        '{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"%s","spanId":"%s","name":"a\\ud83db"}]}]}]}'
    )
    [span] = decode_traces(transcode(Signal.TRACES, (body % ("ab" * 16, "cd" * 8)).encode()).body)
    assert span.name == "a\ufffdb"


def test_J12_attributes_as_an_object_are_named() -> None:
    assert "attributes must be a list" in rejected({"attributes": {"k": "v"}})


@pytest.mark.parametrize("value", ["text", 3, ["list"], True])
def test_J12_a_value_that_is_no_object_costs_its_span(value: Any) -> None:
    assert "a value is not an object" in rejected({"attributes": [{"key": "k", "value": value}]})


def test_J13_of_equal_keys_the_last_holds() -> None:
    [span] = spans_of(
        {"attributes": [{"key": "k", "value": {"intValue": 1}}, {"key": "k", "value": {"stringValue": "x"}}]}
    )
    assert span.attributes["k"] == "x"


TWICE = b'"name": "\\"first\\": 1", "name": "a \\"key\\": \\u00e9"'


@pytest.mark.parametrize(
    ("given", "counted"),
    [
        (TWICE, 1),
        (TWICE.replace(b": ", b":"), 1),
        (TWICE + b', "name": "x"', 2),
        (b'"kind":1,"kind":2,"name":"\\u0022kind\\u0022:3"', 1),
        (b'"status": {"code": 1, "code": 2}', 1),
        (b'"kind": 1.0, "name": "\\u0022a\\u0022: \\"b\\":"', 0),
    ],
)
def test_J13_keys_given_twice_are_counted(
    given: bytes, counted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collector.otlp.json.body.LOOKED_THROUGH", 1)
    body = b'{"resourceSpans": [{"scopeSpans": [{"spans": [{%s, %s}]}]}]}' % (
        json.dumps(IDS).encode()[1:-1],
        given,
    )
    checked = transcode(Signal.TRACES, body)
    assert checked.accepted == 1
    assert sum(checked.changes.values()) == counted
    assert ("a key more than once" in checked.warnings) is bool(counted)


def test_J13_who_always_gives_keys_twice_is_soon_found_out() -> None:
    found = 0
    for number in range(200):
        ids = json.dumps(IDS | {"traceId": blake2b(b"%d" % number, digest_size=16).hexdigest()})[1:-1]
        body = f'{{"resourceSpans": [{{"scopeSpans": [{{"spans": [{{{ids}, "kind": 1, "kind": 2}}]}}]}}]}}'
        checked = transcode(Signal.TRACES, body.encode())
        assert checked.accepted + checked.rejected == 1
        found += sum(checked.changes.values())
    assert 3 <= found <= 40


ODD_TEXTS = ['a "key": 1', "\\", '\\"', '":', '"', "é\ud83d", "\x00", "\u2028", " :", '{"a": 1, "a": 2}']


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("is_ascii", [True, False])
def test_J13_keys_given_once_are_never_counted(
    indent: int | None, is_ascii: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collector.otlp.json.body.LOOKED_THROUGH", 1)
    document = {
        key: {value: [{value: key, key: 1.0}, 2**63, -0.0, 1e300]} for key in ODD_TEXTS for value in ODD_TEXTS
    }
    body = json.dumps(document, indent=indent, ensure_ascii=is_ascii).encode(errors="replace")
    assert transcode(Signal.TRACES, body).changes == {}


def test_J14_a_byte_order_mark_and_space_are_taken_and_utf_16_is_not() -> None:
    document = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [IDS]}]}]})
    assert transcode(Signal.TRACES, b"\xef\xbb\xbf \n" + document.encode() + b" \n").accepted == 1
    with pytest.raises(NotOtlpError):
        transcode(Signal.TRACES, document.encode("utf-16"))


def test_a_json_integer_of_many_digits_is_refused_quickly() -> None:
    body = b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"flags": ' + b"1" * 5000 + b"}]}]}]}"
    with contextlib.suppress(NotOtlpError):
        assert transcode(Signal.TRACES, body).accepted == 0


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES = st.recursive(
    st.one_of(
        st.builds(lambda v: AnyValue(string_value=v), TEXT),
        st.builds(lambda v: AnyValue(bool_value=v), st.booleans()),
        st.builds(lambda v: AnyValue(int_value=v), st.integers(-(2**63), 2**63 - 1)),
        st.builds(lambda v: AnyValue(double_value=v), st.floats(allow_nan=False)),
        st.builds(lambda v: AnyValue(bytes_value=v), st.binary(max_size=20)),
        st.builds(AnyValue),
    ),
    lambda inner: st.lists(inner, max_size=3).map(lambda values: AnyValue(array_value={"values": values})),
    max_leaves=6,
)
MOMENTS = st.integers(0, 2**64 - 1)


@st.composite
def requests(draw: Callable[[Any], Any]) -> ExportTraceServiceRequest:
    made = ExportTraceServiceRequest()
    for _ in range(draw(st.integers(0, 2))):
        resource = made.resource_spans.add(schema_url=draw(TEXT))
        for key in draw(st.sets(TEXT, max_size=3)):
            resource.resource.attributes.add(key=key).value.CopyFrom(draw(VALUES))
        scope = resource.scope_spans.add()
        scope.scope.name = draw(TEXT)
        for _ in range(draw(st.integers(0, 3))):
            span = scope.spans.add(
                trace_id=draw(st.binary(min_size=15, max_size=16)),
                span_id=draw(st.binary(min_size=8, max_size=8)),
                parent_span_id=draw(st.sampled_from([b"", bytes(8), b"parent00"])),
                name=draw(TEXT),
                trace_state=draw(TEXT),
                kind=draw(st.integers(0, 5)),
                start_time_unix_nano=draw(MOMENTS),
                end_time_unix_nano=draw(MOMENTS),
            )
            span.status.code = draw(st.integers(0, 2))
            for key in draw(st.sets(TEXT, max_size=4)):
                span.attributes.add(key=key).value.CopyFrom(draw(VALUES))
            span.events.add(name=draw(TEXT), time_unix_nano=draw(MOMENTS))
            span.links.add(trace_id=b"t" * 16, span_id=b"s" * 8)
    return made


@settings(max_examples=40, deadline=None)
@given(requests())
def test_J16_json_and_protobuf_of_a_request_are_the_same_spans(made: ExportTraceServiceRequest) -> None:
    by_json, by_protobuf = (
        transcode(Signal.TRACES, to_json(made)),
        None if not made.ByteSize() else _checked(made),
    )
    if by_protobuf is None:
        return
    assert (by_json.accepted, by_json.rejected) == (by_protobuf.accepted, by_protobuf.rejected)
    assert [_plain(span) for span in decode_traces(by_json.body)] == [
        _plain(span) for span in decode_traces(by_protobuf.body)
    ]


def _checked(made: ExportTraceServiceRequest) -> Any:
    try:
        return check(Signal.TRACES, made.SerializeToString())
    except NotOtlpError:  # nothing in it has an id
        return None


def _plain(span: Span) -> dict[str, Any]:
    return {
        "ids": (span.trace_id, span.span_id, span.parent_span_id),
        "times": (span.start_ns, span.end_ns),
        "said": (span.name, span.kind, span.status_code, span.trace_state, span.scope.name),
        "attributes": dict(span.attributes.items()),
        "resource": dict(span.resource.attributes.items()),
        "events": [(event.name, event.time_ns) for event in span.events],
        "links": [(link.trace_id, link.span_id) for link in span.links],
    }


# --------------------------------------------------------------------------- the data model


def traced(**fields: Any) -> ExportTraceServiceRequest:
    made = ExportTraceServiceRequest()
    made.resource_spans.add().scope_spans.add().spans.add(
        **{"trace_id": b"conformance lines"[:16], "span_id": b"12345678"} | fields
    )
    return made


def decoded(made: ExportTraceServiceRequest) -> Span:
    [span] = decode_traces(check(Signal.TRACES, made.SerializeToString()).body)
    return span


def test_P1_unknown_fields_are_ignored() -> None:
    body = traced().SerializeToString() + b"\xfa\x07\x03new"
    assert check(Signal.TRACES, body).accepted == 1


INDEXED_KEY = nested(9, b"\x18\x05", nested(2, nested(1, b"value")))
INDEXED_VALUE = nested(9, nested(1, b"k"), nested(2, b"\x40\x05"))


@pytest.mark.parametrize(
    ("attributes", "warned"),
    [
        (INDEXED_KEY, True),
        (INDEXED_KEY + INDEXED_VALUE, True),
        (INDEXED_KEY + nested(11, nested(3, b"\x18\x05")), True),
        (nested(9, nested(1, b"k"), nested(2, nested(1, b"value")), nested(77, b"later")), False),
        (nested(9, nested(2, nested(1, b"no key"))), False),
    ],
)
def test_P1_keys_and_values_by_an_index_are_warned_of(attributes: bytes, warned: bool) -> None:
    ids = nested(1, b"t" * 16) + nested(2, b"s" * 8)
    checked = check(Signal.TRACES, nested(1, nested(2, nested(2, ids, attributes))))
    assert (checked.accepted, checked.rejected) == (1, 0)
    assert ("named by an index" in checked.warnings) is warned
    [span] = decode_traces(checked.body)
    assert span.attributes.get("k") == ("value" if b"later" in attributes else None)
    assert len(span.attributes) == attributes.count(b"\x4a")


def test_P1_a_resource_with_a_key_by_an_index_is_warned_of() -> None:
    made = traced().resource_spans[0].SerializeToString()
    checked = check(Signal.TRACES, nested(1, nested(1, nested(1, b"\x18\x05")), made))
    assert (checked.accepted, checked.rejected) == (1, 0)
    assert "named by an index" in checked.warnings


@pytest.mark.parametrize(
    ("pair", "warned"),
    [
        ({"keyStrindex": 5, "value": {"stringValue": "x"}}, True),
        ({"key": "k", "value": {"stringValueStrindex": 5}}, True),
        ({"key": "k", "value": {"stringValue": "keyStrindex"}}, False),
    ],
)
def test_P1_the_same_in_json(pair: dict[str, Any], warned: bool) -> None:
    body = {"resourceSpans": [{"scopeSpans": [{"spans": [IDS | {"attributes": [pair]}]}]}]}
    checked = transcode(Signal.TRACES, json.dumps(body).encode())
    assert checked.accepted == 1
    assert ("named by an index" in checked.warnings) is warned


def test_P2_attributes_may_hold_anything() -> None:
    made = traced()
    span = made.resource_spans[0].scope_spans[0].spans[0]
    span.attributes.add(key="empty")
    span.attributes.add(key="bytes").value.bytes_value = b"\0\xff"
    span.attributes.add(key="list").value.array_value.values.add().array_value.values.add().int_value = 1
    nested = span.attributes.add(key="map").value.kvlist_value.values.add(key="inner")
    nested.value.kvlist_value.values.add(key="deep").value.bool_value = True
    assert dict(decoded(made).attributes.items()) == {
        "empty": None,
        "bytes": b"\0\xff",
        "list": [[1]],
        "map": {"inner": {"deep": True}},
    }


@pytest.mark.parametrize(
    ("parent", "is_odd"), [(b"", False), (bytes(8), False), (b"short", True), (b"much too long", True)]
)
def test_P3_a_parent_that_is_none_makes_a_root(parent: bytes, *, is_odd: bool) -> None:
    made = traced(parent_span_id=parent)
    made.resource_spans[0].scope_spans[0].spans.add(
        trace_id=b"conformance lines"[:16], span_id=b"87654321", parent_span_id=b"12345678"
    )
    for checked in (
        check(Signal.TRACES, made.SerializeToString()),
        transcode(Signal.TRACES, to_json(made)),
    ):
        assert [span.parent_span_id for span in decode_traces(checked.body)] == ["", b"12345678".hex()]
        assert ("taken for a root" in checked.warnings) == is_odd


@pytest.mark.parametrize(("start", "end"), [(0, 5), (5, 0), (9, 3), (0, 0), (2**64 - 1, 1)])
def test_P4_P5_odd_times_are_kept_for_later(start: int, end: int) -> None:
    span = decoded(traced(start_time_unix_nano=start, end_time_unix_nano=end))
    assert (span.start_ns, span.end_ns) == (start, end)


def test_P6_of_equal_keys_the_last_holds() -> None:
    made = traced()
    span = made.resource_spans[0].scope_spans[0].spans[0]
    for number in (1, 2):
        span.attributes.add(key="k").value.int_value = number
    assert decoded(made).attributes["k"] == 2


def test_P7_P11_what_is_not_understood_is_journalled_as_it_came() -> None:
    made = traced(flags=0xFFFFFC00, dropped_attributes_count=3, dropped_events_count=4, dropped_links_count=5)
    made.resource_spans[0].schema_url = "https://opentelemetry.io/schemas/1.40.0"
    body = made.SerializeToString()
    assert check(Signal.TRACES, body).body == body


@pytest.mark.parametrize("urls", [1, 3])
def test_P8_a_schema_url_that_is_no_text_costs_nothing(urls: int) -> None:
    made = traced()
    made.resource_spans[0].schema_url = "url"
    body = made.resource_spans[0].SerializeToString()
    body = nested(1, body, nested(3, b"url") * (urls - 1)).replace(b"url", b"u\xffl")
    checked = check(Signal.TRACES, body)
    assert (checked.accepted, checked.rejected) == (1, 0)
    assert len(decode_traces(checked.body)) == 1


def test_P10_each_signal_sent_as_another_is_refused_by_its_name() -> None:
    scenario = next(scenario for scenario in select("gen_ai/openai-v2-events/tools") if scenario.logs)
    metrics = ExportMetricsServiceRequest()
    gauge = metrics.resource_metrics.add().scope_metrics.add().metrics.add(name="m").gauge
    gauge.data_points.add(as_int=1)
    sent = {
        Signal.TRACES: ExportTraceServiceRequest.FromString(scenario.traces[0].read_bytes()),
        Signal.LOGS: ExportLogsServiceRequest.FromString(scenario.logs[0].read_bytes()),
        Signal.METRICS: metrics,
    }
    for signal, made in sent.items():
        for other in {*Signal} - {signal}:
            named = f"holds {signal}"
            with pytest.raises(NotOtlpError, match=named):
                transcode(other, to_json(made))
            with pytest.raises(NotOtlpError, match=named):
                check(other, made.SerializeToString())


def test_P10_spans_that_are_all_wrong_are_no_other_signal() -> None:
    made = traced(name="name")
    checked = check(Signal.TRACES, made.SerializeToString().replace(b"name", b"n\xffme"))
    assert (checked.accepted, checked.rejected) == (0, 1)


@pytest.mark.parametrize("signal", [*Signal])
def test_H13_json_sent_as_protobuf_is_named(signal: Signal) -> None:
    with pytest.raises(NotOtlpError, match="is it JSON"):
        check(signal, to_json(traced()))


def test_L2_log_records_need_no_trace() -> None:
    logs = ExportLogsServiceRequest()
    records = logs.resource_logs.add().scope_logs.add().log_records
    records.add(event_name="gen_ai.choice").body.string_value = "said"
    records.add(trace_id=b"x" * 16, span_id=b"y" * 8)
    records.add(trace_id=b"short")
    checked = check(Signal.LOGS, logs.SerializeToString())
    assert (checked.accepted, checked.rejected) == (2, 1)
    assert [record.event_name for record in decode_logs(checked.body)] == ["gen_ai.choice", ""]


# --------------------------------------------------------------------------- failures


def test_H14_a_bad_request_says_which_part_in_both_encodings() -> None:
    plain = posted(Intake({}), b"nonsense", Content_Type=PROTOBUF)
    status = Status.FromString(plain.body)
    violations = BadRequest()
    assert status.details[0].Unpack(violations)
    assert violations.field_violations[0].description == status.message
    [detail] = json.loads(posted(Intake({}), b"nonsense", Content_Type=JSON).body)["details"]
    assert detail["@type"] == "type.googleapis.com/google.rpc.BadRequest"
    assert detail["fieldViolations"][0]["description"]
    assert "nonsense" not in said(plain)


class Stuck:
    """A journal that stands still."""

    def append(self, *_: Any) -> None:
        """Never done."""


def test_F_what_is_not_safe_in_time_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    assert COMMIT_S == 8  # exporters give up after ten
    monkeypatch.setattr("collector.receivers.http.COMMIT_S", 0.1)
    journals: dict[str, Any] = {"traces": Stuck()}
    answer = posted(Intake(journals), traced().SerializeToString(), Content_Type=PROTOBUF)
    assert (answer.status, answer.headers["retry-after"] in ("1", "2")) == (503, True)
    assert "in time" in said(answer)


def test_F_where_there_is_no_room_both_transports_ask_for_another_try() -> None:
    budget = Budget(1000)
    assert budget.take(1000, first=True)
    intake = Intake({}, budget=budget)
    body = traced().SerializeToString()
    began = time.monotonic()
    answer = posted(intake, body, Content_Type=PROTOBUF)
    assert (answer.status, answer.headers["retry-after"] in ("1", "2")) == (503, True)
    receiver = GrpcReceiver(intake, max_message_bytes=1 << 20, workers=2)
    port = receiver.start("127.0.0.1:0")
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel, pytest.raises(grpc.RpcError) as error:
        channel.unary_unary(TRACES)(body, timeout=5)
    receiver.stop(0)
    assert time.monotonic() - began >= 2 * ADMISSION_S  # there might have been room in a moment
    assert error.value.code() is grpc.StatusCode.UNAVAILABLE
    assert {"grpc-status-details-bin", "google.rpc.retryinfo-bin"} <= dict(
        error.value.trailing_metadata()
    ).keys()
    for transport in ("http", "grpc"):
        assert intake.stats.of(transport, Signal.TRACES).refused_requests == 1


def test_F1_while_draining_both_encodings_are_asked_to_come_back() -> None:
    intake = Intake({})
    intake.draining = True
    for content_type in (PROTOBUF, JSON):
        response = posted(intake, b"", Content_Type=content_type)
        assert (response.status, response.headers["content-type"]) == (503, content_type)
        assert response.headers["retry-after"] in ("1", "2")
        assert "shutting down" in said(response)


def test_F4_the_same_bytes_are_taken_again() -> None:
    body = traced().SerializeToString()
    intake = Intake({})
    intake.draining = True
    assert posted(intake, body, Content_Type=PROTOBUF).status == 503
    intake.draining = False
    assert [posted(intake, body, Content_Type=PROTOBUF).status for _ in range(2)] == [200, 200]


def test_F_a_fault_of_ours_is_retried_three_times_and_then_final(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collector.intake.intake.check", lambda *_: 1 / 0)
    intake = Intake({})
    intake.given_up = lambda request, reason: None  # there is a place where it is kept
    outcomes: list[Outcome] = []
    for body in (b"first", b"first", b"other", b"first", b"first"):
        intake.take(Submission(Signal.TRACES, body, "http"), outcomes.append)
    verdicts = [outcome.verdict for outcome in outcomes]
    assert verdicts == [Verdict.REFUSED] * 4 + [Verdict.BAD]


def test_F_of_a_bounded_number_of_requests_it_is_known_how_often_they_met_a_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("collector.intake.intake.check", lambda *_: 1 / 0)
    monkeypatch.setattr("collector.intake.intake.MAX_FAULTS", 2)
    intake = Intake({})
    intake.given_up = lambda request, reason: None
    outcomes: list[Outcome] = []
    for body in (*[b"first"] * 3, b"second", b"third", b"first"):
        intake.take(Submission(Signal.TRACES, body, "http"), outcomes.append)
    assert {outcome.verdict for outcome in outcomes} == {Verdict.REFUSED}


CONTENT_TYPES = st.sampled_from([PROTOBUF, JSON, "application/json; charset=utf-8", "text/plain", ""])
ENCODINGS = st.sampled_from(["", "gzip", "deflate", "zstd", "identity", "br", "gzip, gzip", "\x7f"])
MEMBERS = [
    *("resourceSpans", "scopeSpans", "spans", "attributes", "key", "value", "traceId", "events"),
    *("stringValue", "intValue", "arrayValue", "kvlistValue", "values", "resource", "scope"),
]
BODIES = st.one_of(
    st.binary(max_size=200),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(MEMBERS),
                inner,
                max_size=5,
            )
        ),
        max_leaves=20,
    ).map(lambda document: json.dumps(document).encode()),
    st.builds(
        lambda made, at, byte: (lambda b: b[:at] + bytes([byte]) + b[at + 1 :])(made.SerializeToString()),
        requests(),
        st.integers(0, 300),
        st.integers(0, 255),
    ),
)


@settings(max_examples=200, deadline=None)
@given(CONTENT_TYPES, ENCODINGS, BODIES)
def test_T11_whatever_is_sent_gets_an_answer_in_otlp(content_type: str, encoding: str, body: bytes) -> None:
    intake = Intake({})
    headers = {
        name: value
        for name, value in (("Content_Type", content_type), ("Content_Encoding", encoding))
        if value
    }
    response = posted(intake, body, **headers)
    assert response.status in (200, 400, 413, 415)
    if response.status != 200:
        assert said(response)
    assert intake.budget.taken == 0


@settings(max_examples=100, deadline=None)
@given(BODIES)
def test_T11_what_is_taken_can_be_decoded(body: bytes) -> None:
    for judge in (check, transcode):
        try:
            checked = judge(Signal.TRACES, body)
        except ValueError:
            continue
        assert len(decode_traces(checked.body)) == checked.accepted


# --------------------------------------------------------------------------- gRPC


@pytest.fixture
def address() -> Any:
    receiver = GrpcReceiver(
        Intake({}),
        max_message_bytes=1 << 20,
        workers=2,
        connections=Connections(max_age=0.5, max_age_grace=1.0),
    )
    port = receiver.start("127.0.0.1:0")
    yield f"127.0.0.1:{port}"
    receiver.stop(0)


def test_G4_frequent_pings_are_fine() -> None:
    options = dict(Connections().options())
    assert options["grpc.http2.min_recv_ping_interval_without_data_ms"] == 5000
    assert options["grpc.keepalive_permit_without_calls"] == 1


def test_G5_old_connections_are_renewed_without_a_failed_call(address: str) -> None:
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary(TRACES)
        for _ in range(20):
            assert call(b"", timeout=PATIENCE_S) == b""
            asyncio.run(asyncio.sleep(0.08))


def test_G6_G12_one_port_one_collector_and_bounded_streams() -> None:
    options = dict(Connections().options())
    assert (options["grpc.so_reuseport"], options["grpc.max_concurrent_streams"]) == (0, 100)


def test_G10_metadata_names_the_project_as_headers_do(address: str) -> None:
    with grpc.insecure_channel(address) as channel:
        sent = channel.unary_unary(TRACES)(
            traced().SerializeToString(), metadata=[("x-loop-project", "shop")], timeout=PATIENCE_S
        )
    assert sent == b""


def test_G11_a_call_is_answered_before_its_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc_receiver, "ANSWER_BEFORE_DEADLINE_S", PATIENCE_S)
    receiver = GrpcReceiver(Intake({"traces": Stuck()}), max_message_bytes=1 << 20, workers=1)  # type: ignore[dict-item]  # a journal that stands still
    port = receiver.start("127.0.0.1:0")
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel, pytest.raises(grpc.RpcError) as error:
            channel.unary_unary(TRACES)(traced().SerializeToString(), timeout=PATIENCE_S + 0.5)
    finally:
        receiver.stop(0)
    assert error.value.code() is grpc.StatusCode.UNAVAILABLE
