"""Doors for telemetry: OTLP over HTTP and over gRPC. Both only do their wire's part and hand on to the intake."""
