// Sends spans at an even pace, and prints how many: node steady.mjs json|proto|grpc SECONDS. See ../exporters.
import { BatchSpanProcessor, NodeTracerProvider } from '@opentelemetry/sdk-trace-node';

const PER_SECOND = 90;
const [transport, seconds] = process.argv.slice(2);
const names = { json: 'http', proto: 'proto', grpc: 'grpc' };
const { OTLPTraceExporter } = await import(`@opentelemetry/exporter-trace-otlp-${names[transport]}`);

const processor = new BatchSpanProcessor(new OTLPTraceExporter(), { scheduledDelayMillis: 500 });
const provider = new NodeTracerProvider({ spanProcessors: [processor] });
const tracer = provider.getTracer('exporters');
const until = Date.now() + Number(seconds) * 1000;
let made = 0;
while (Date.now() < until) {
  tracer.startSpan(`span ${made}`).end();
  made += 1;
  await new Promise((wake) => setTimeout(wake, 1000 / PER_SECOND));
}
await provider.shutdown().catch(() => {});
console.log(made);
