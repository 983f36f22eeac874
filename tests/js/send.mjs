// Sends one run (an agent, a model call, a tool call) with a stock exporter that only the environment configures.
// Usage: node send.mjs json|proto|grpc. Whatever the SDK has to say of delivery goes to stderr.
import { diag, DiagConsoleLogger, DiagLogLevel, trace } from '@opentelemetry/api';
import { BatchSpanProcessor, NodeTracerProvider } from '@opentelemetry/sdk-trace-node';

const transports = { json: 'http', proto: 'proto', grpc: 'grpc' };
const { OTLPTraceExporter } = await import(`@opentelemetry/exporter-trace-otlp-${transports[process.argv[2]]}`);

const logger = new DiagConsoleLogger();
for (const level of ['warn', 'error', 'info', 'debug', 'verbose']) logger[level] = (...args) => console.error(level, ...args);
diag.setLogger(logger, DiagLogLevel.WARN);

const provider = new NodeTracerProvider({ spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter())] });
provider.register();
const tracer = provider.getTracer('eddyline-tests');

tracer.startActiveSpan('invoke_agent weather', { attributes: { 'gen_ai.operation.name': 'invoke_agent', 'gen_ai.agent.name': 'weather' } }, (agent) => {
  tracer.startActiveSpan('chat gpt-4o-mini', (call) => {
    call.setAttributes({
      'gen_ai.operation.name': 'chat',
      'gen_ai.request.model': 'gpt-4o-mini',
      'gen_ai.usage.input_tokens': 100,
      'gen_ai.usage.output_tokens': 20,
      'gen_ai.response.time_to_first_chunk': Number.NaN,
      'gen_ai.response.finish_reasons': ['tool_calls'],
    });
    call.end();
  });
  tracer.startActiveSpan('execute_tool get_weather', (tool) => {
    tool.setAttributes({ 'gen_ai.operation.name': 'execute_tool', 'gen_ai.tool.name': 'get_weather' });
    tool.end();
  });
  console.log(trace.getActiveSpan().spanContext().traceId);
  agent.end();
});
await provider.shutdown();
