-- As step 10, but for scopes, events and links without lists: whether or not anybody sends one, each insert prepares what
-- writes them as text anew, for each kind of attributes. Of 100 ms that any insert of requests took 30 were for these three.
-- Requests that have such a list come as columns.
CREATE TABLE IF NOT EXISTS otel.trace_requests
(
    tenant String,
    resource_spans Array(Tuple(
        project String,
        resource Tuple(attributes Map(LowCardinality(String), Tuple(
            string_value String, bool_value Bool, int_value Int64, double_value Float64, bytes_value String,
            array_value Tuple(values Array(Tuple(
                string_value String, bool_value Bool, int_value Int64, double_value Float64, bytes_value String,
                value Enum8('' = 0, 'string_value' = 1, 'bool_value' = 2, 'int_value' = 3, 'double_value' = 4, 'bytes_value' = 7)))),
            value Enum8('' = 0, 'string_value' = 1, 'bool_value' = 2, 'int_value' = 3, 'double_value' = 4, 'array_value' = 5, 'bytes_value' = 7)))),
        scope_spans Array(Tuple(
            scope Tuple(name String, version String, attributes Map(LowCardinality(String), Tuple(
                string_value String, bool_value Bool, int_value Int64, double_value Float64, bytes_value String,
                value Enum8('' = 0, 'string_value' = 1, 'bool_value' = 2, 'int_value' = 3, 'double_value' = 4, 'bytes_value' = 7)))),
            spans Array(Tuple(
                trace_id String, span_id String, parent_span_id String, trace_state String,
                name LowCardinality(String), kind Int32,
                start_time_unix_nano UInt64, end_time_unix_nano UInt64,
                attributes Map(LowCardinality(String), Tuple(
                    string_value String, bool_value Bool, int_value Int64, double_value Float64, bytes_value String,
                    array_value Tuple(values Array(Tuple(
                        string_value String, bool_value Bool, int_value Int64, double_value Float64, bytes_value String,
                        value Enum8('' = 0, 'string_value' = 1, 'bool_value' = 2, 'int_value' = 3, 'double_value' = 4, 'bytes_value' = 7)))),
                    value Enum8('' = 0, 'string_value' = 1, 'bool_value' = 2, 'int_value' = 3, 'double_value' = 4, 'array_value' = 5, 'bytes_value' = 7))),
                events Array(Tuple(
                    time_unix_nano UInt64, name LowCardinality(String), attributes Map(LowCardinality(String), Tuple(
                        string_value String, bool_value Bool, int_value Int64, double_value Float64, bytes_value String,
                        value Enum8('' = 0, 'string_value' = 1, 'bool_value' = 2, 'int_value' = 3, 'double_value' = 4, 'bytes_value' = 7))))),
                links Array(Tuple(
                    trace_id String, span_id String, trace_state String, attributes Map(LowCardinality(String), Tuple(
                        string_value String, bool_value Bool, int_value Int64, double_value Float64, bytes_value String,
                        value Enum8('' = 0, 'string_value' = 1, 'bool_value' = 2, 'int_value' = 3, 'double_value' = 4, 'bytes_value' = 7))))),
                status Tuple(message String, code Int32)))))))
)
ENGINE = Null;

CREATE MATERIALIZED VIEW IF NOT EXISTS otel.trace_requests_mv TO otel.otel_traces AS
WITH
    -- As sinks/clickhouse/attributes.py writes them.
    x -> if(isFinite(x), if(abs(x) < 1e21, toString(x), replaceOne(toString(x), 'e', 'e+')),
        if(isNaN(x), 'NaN', if(x > 0, '+Inf', '-Inf'))) AS real_text,
    -- toJSONString escapes these in capitals, or where nobody else does.
    x -> if(match(x, '[\\x0b\\x0e\\x0f\\x1a-\\x1f\\x{2028}\\x{2029}]'),
        concat('"', arrayStringConcat(arrayMap(
            c -> multiIf(c < ' ' AND NOT has(['\b', '\t', '\n', '\f', '\r'], c), concat('\\u00', lower(hex(c))),
                c < '\x80', substring(toJSONString(c), 2, length(toJSONString(c)) - 2), c),
            splitByString('', x))), '"'),
        toJSONString(x)) AS quoted,
    v -> multiIf(
        v.value = 'string_value', quoted(v.string_value),
        v.value = 'int_value', toString(v.int_value),
        v.value = 'double_value', if(isFinite(v.double_value), real_text(v.double_value), toJSONString(real_text(v.double_value))),
        v.value = 'bool_value', toString(v.bool_value),
        v.value = 'bytes_value', toJSONString(base64Encode(v.bytes_value)),
        'null') AS item_text,
    v -> multiIf(
        v.value = 'string_value', v.string_value,
        v.value = 'int_value', toString(v.int_value),
        v.value = 'double_value', real_text(v.double_value),
        v.value = 'bool_value', toString(v.bool_value),
        v.value = 'bytes_value', base64Encode(v.bytes_value),
        '') AS single_text,
    v -> multiIf(
        v.value = 'string_value', v.string_value,
        v.value = 'int_value', toString(v.int_value),
        v.value = 'double_value', real_text(v.double_value),
        v.value = 'bool_value', toString(v.bool_value),
        v.value = 'bytes_value', base64Encode(v.bytes_value),
        v.value = 'array_value', concat('[', arrayStringConcat(arrayMap(i -> item_text(i), v.array_value.values), ','), ']'),
        '') AS value_text,
    values -> CAST((mapKeys(values), arrayMap(v -> single_text(v), mapValues(values))), 'Map(LowCardinality(String), String)') AS single_texts,
    values -> CAST((mapKeys(values), arrayMap(v -> value_text(v), mapValues(values))), 'Map(LowCardinality(String), String)') AS texts,
    ns -> fromUnixTimestamp64Nano(toInt64(least(ns, 9214646400000000000)), 'UTC') AS time,
    id -> lower(hex(id)) AS id_text
SELECT
    time(span.start_time_unix_nano) AS Timestamp,
    id_text(span.trace_id) AS TraceId,
    id_text(span.span_id) AS SpanId,
    if(length(span.parent_span_id) = 8 AND span.parent_span_id != unhex('0000000000000000'), id_text(span.parent_span_id), '')
        AS ParentSpanId,
    span.trace_state AS TraceState,
    span.name AS SpanName,
    transform(span.kind, [1, 2, 3, 4, 5], ['Internal', 'Server', 'Client', 'Producer', 'Consumer'], 'Unspecified') AS SpanKind,
    resource['service.name'] AS ServiceName,
    resource AS ResourceAttributes,
    scope.name AS ScopeName,
    scope.version AS ScopeVersion,
    texts(span.attributes) AS SpanAttributes,
    if(span.end_time_unix_nano > span.start_time_unix_nano, span.end_time_unix_nano - span.start_time_unix_nano, 0) AS Duration,
    transform(span.status.code, [1, 2], ['Ok', 'Error'], 'Unset') AS StatusCode,
    span.status.message AS StatusMessage,
    arrayMap(ns -> time(ns), span.events.time_unix_nano) AS `Events.Timestamp`,
    span.events.name AS `Events.Name`,
    arrayMap(a -> single_texts(a), span.events.attributes) AS `Events.Attributes`,
    arrayMap(id -> id_text(id), span.links.trace_id) AS `Links.TraceId`,
    arrayMap(id -> id_text(id), span.links.span_id) AS `Links.SpanId`,
    span.links.trace_state AS `Links.TraceState`,
    arrayMap(a -> single_texts(a), span.links.attributes) AS `Links.Attributes`,
    tenant AS Tenant,
    project AS Project,
    scope_attributes AS ScopeAttributes
FROM
(
    SELECT arrayJoin(of_scope.spans) AS span, of_scope.scope AS scope, single_texts(of_scope.scope.attributes) AS scope_attributes,
        resource, project, tenant
    FROM
    (
        SELECT arrayJoin(of_resource.scope_spans) AS of_scope, texts(of_resource.resource.attributes) AS resource,
            of_resource.project AS project, tenant
        FROM (SELECT arrayJoin(resource_spans) AS of_resource, tenant FROM otel.trace_requests)
    )
);

-- A collector of before that still runs keeps what it takes in its journal; the next one stores that.
DROP TABLE IF EXISTS otel.requests_mv;

DROP TABLE IF EXISTS otel.requests;
