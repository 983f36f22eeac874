// What programs do with their SDKs; prints one JSON line a call. Arguments: base URLs of OpenAI and Anthropic.
import Anthropic from "@anthropic-ai/sdk";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, streamText } from "ai";
import OpenAI, { toFile } from "openai";

const [openaiBase, anthropicBase] = process.argv.slice(2);
const messages = [{ role: "user", content: "hello" }];
const openai = new OpenAI({ baseURL: openaiBase, apiKey: "sk-test" });
const anthropic = new Anthropic({ baseURL: anthropicBase, apiKey: "sk-ant-test" });
const ai = createOpenAI({ baseURL: openaiBase, apiKey: "sk-test" });
const aiAnthropic = createAnthropic({ baseURL: `${anthropicBase}/v1`, apiKey: "sk-ant-test" });

async function collected(stream) {
  const found = [];
  for await (const item of stream) found.push(item);
  return found;
}

// What a program sees of a failure.
async function told(call) {
  try {
    return await call();
  } catch (error) {
    return [error.constructor.name, error.status, String(error.message)];
  }
}

const weather = { type: "object", properties: { city: { type: "string" } } };
const chatTools = [{ type: "function", function: { name: "get_weather", parameters: weather } }];

const calls = {
  openai_chat: () => openai.chat.completions.create({ model: "m", messages }),
  openai_stream: async () =>
    collected(await openai.chat.completions.create({ model: "m", messages, stream: true })),
  openai_responses: async () => (await openai.responses.create({ model: "m", input: "hello" })).output_text,
  openai_responses_stream: async () =>
    (await collected(await openai.responses.create({ model: "m", input: "hello", stream: true }))).length,
  openai_embeddings: () => openai.embeddings.create({ model: "e", input: "hello" }),
  openai_abort: async () => {
    const stream = await openai.chat.completions.create({ model: "m", messages, stream: true });
    for await (const chunk of stream) return chunk;
  },
  openai_tools: () => openai.chat.completions.create({ model: "m", messages, tools: chatTools }),
  openai_retry: () => openai.chat.completions.create({ model: "busy-at-first", messages }),
  openai_error: () => told(() => openai.chat.completions.create({ model: "no-such-model", messages })),
  openai_fails_within: () =>
    told(async () =>
      collected(await openai.chat.completions.create({ model: "fails-within", messages, stream: true })),
    ),
  openai_upload: async () =>
    openai.audio.transcriptions.create({ model: "whisper-1", file: await toFile(Buffer.alloc(20000, "a"), "a.wav") }),
  anthropic_tools: () =>
    anthropic.messages.create({
      model: "claude",
      max_tokens: 9,
      messages,
      tools: [{ name: "get_weather", input_schema: weather }],
    }),
  anthropic_retry: () => anthropic.messages.create({ model: "busy-at-first", max_tokens: 9, messages }),
  anthropic_error: () => told(() => anthropic.messages.create({ model: "no-such-model", max_tokens: 9, messages })),
  anthropic_fails_within: () =>
    told(async () =>
      collected(
        await anthropic.messages.create({ model: "fails-within", max_tokens: 9, messages, stream: true }),
      ),
    ),
  anthropic_count: () => anthropic.messages.countTokens({ model: "claude", messages }),
  ai_retry: async () => (await generateText({ model: ai.chat("no-such-model"), prompt: "hello" }).catch(String)),
  anthropic_create: () => anthropic.messages.create({ model: "claude", max_tokens: 9, messages }),
  anthropic_stream: async () =>
    (await anthropic.messages.stream({ model: "claude", max_tokens: 9, messages }).finalMessage()).content,
  ai_generate: async () => (await generateText({ model: ai.chat("m"), prompt: "hello" })).text,
  ai_stream: async () => (await collected(streamText({ model: ai.chat("m"), prompt: "hello" }).textStream)).join(""),
  ai_responses: async () => (await generateText({ model: ai.responses("m"), prompt: "hello" })).text,
  ai_anthropic: async () => (await generateText({ model: aiAnthropic("claude"), prompt: "hello" })).text,
};

for (const [name, call] of Object.entries(calls)) {
  let result;
  try {
    result = await call();
  } catch (error) {
    result = { error: String(error) };
  }
  console.log(JSON.stringify({ name, result }));
}
process.exit(0);
