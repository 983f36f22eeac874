// What people do with the page, in a real browser against a real collector: `node scenarios.mjs NAME`.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { readFileSync, writeFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import { chromium } from "playwright-core";
import { Run, looping } from "./traces.mjs";

const { EDDYLINE_HTTP: HTTP, EDDYLINE_API: API, EDDYLINE_TOKEN: TOKEN, SHOTS } = process.env;
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
/** A square of 16 × 16 pixels. */
const PICTURE =
  "iVBORw0KGgoAAAANSUhEUgAAABAAAAAQCAIAAACQkWg2AAABjklEQVR42hXL0RBFMQxAwQIEoAAFCEAAClCAAgQgAAEIQAEKcCEO1uub2d9ttEYTWqcNmtKMNmmLtmlOC1rSinZol/Y15BGkIwNRxJCJLGQjjgSSSCEHucgL/RF6pw+60o0+6Yu+6U4PetKLfuiX/sJ4hNEZg6EMY0zGYmyGM4KRjGIcxmW8oI+gHR2oooZOdKEbdTTQRAs96EVfsEewjg1MMcMmtrCNORZYYoUd7GIvzEeYnTmYyjTmZC7mZjozmMks5mFe5gvrEVZnDZayjDVZi7VZzgpWsop1WJf1wn6E3dmDrWxjT/Zib7azg53sYh/2Zb/gj+AdH7jihk984Rt3PPDECz/4xV+IR4hODEIJIyaxiE04EUQSRRziEi/kI2QnB6mkkZNc5CadDDLJIg95yRfqEapTg1LKqEktalNOBZVUUYe61AvnEU7nDI5yjDM5i7M5zglOcopzOJfzwn2E27mDq1zjTu7ibq5zg5vc4h7u5b7wJ3ydb/Apn/FNvsW3+Zwv+JKv+A7f5ft+pB58EEIBe1sAAAAASUVORK5CYII=";
const PAGES = ["/", "/sessions", "/warnings", "/overview?since=-7d", "/status", "/settings", "/compare"];

const api = async (path) => (await fetch(`${API}/api/v1${path}`, { headers: { Authorization: `Bearer ${TOKEN}` } })).json();

/** Waits until something holds. */
async function until(holds, what, ms = 15_000) {
  const end = Date.now() + ms;
  for (;;) {
    const found = await holds();
    if (found) return found;
    if (Date.now() > end) throw new Error(`not in time: ${what}`);
    await pause(50);
  }
}

/** Sends a run and waits until it can be asked for. */
async function stored(run, events) {
  await run.send(HTTP);
  await until(async () => (await api(`/runs/${run.id}`)).counts?.spans >= events, `the run with ${events} spans`, 60_000);
  return run;
}

/** A page that complains about nothing; errors of the network are the scenario's. */
async function opened(browser, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1400, height: 850 }, ...options });
  const page = await context.newPage();
  const errors = [];
  page.on("pageerror", (error) => errors.push(error.message));
  page.on("console", (message) => message.type() === "error" && !/Failed to load resource/.test(message.text()) && errors.push(message.text()));
  page.on("dialog", (dialog) => {
    errors.push(`a dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  await page.goto(`${API}/#token=${TOKEN}`);
  return { page, context, errors };
}

const scenarios = {
  /** From an empty collector to the first run, without a reload. */
  async firstVisit(browser) {
    const { page, errors } = await opened(browser);
    await page.getByText("Waiting for the first run").waitFor();
    await page.getByText("nothing has come yet").waitFor();
    await page.getByText(`OTEL_EXPORTER_OTLP_ENDPOINT=${HTTP}`).waitFor();
    assert.equal(new URL(page.url()).hash, "", "the token is not left in the address");
    await stored(looping("first agent"), 13);
    await page.getByRole("link", { name: "first agent" }).waitFor();
    await page.getByRole("link", { name: "first agent" }).click();
    await page.locator(".says", { hasText: "web_search was called 6 times" }).waitFor();
    await shot(page, "run");
    assert.deepEqual(errors, []);
  },

  /** The pictures of the README, of the runs of `readme.py`. */
  async readme(browser) {
    const { page, errors } = await opened(browser, { viewport: { width: 1280, height: 760 }, colorScheme: "light" });
    const [stuck] = (await api("/runs?warning=exact_repeat&convention=openinference&service=weather-langchain&limit=1")).data;
    const [bounced] = (await api("/runs?warning=handoff_loop&limit=1")).data;
    const [other] = (await api("/runs?convention=openinference&service=weather-langchain&status=completed&min_tool_calls=2&max_warnings=0&limit=1")).data;
    const [session] = (await api("/sessions?limit=50")).data.sort((a, b) => b.counts.runs - a.counts.runs);
    const calls = (await api(`/runs/${stuck.run_id}/events?type=llm_call_completed`)).data;
    for (const [name, path, sign] of [
      ["runs", "/", ".histogram button"],
      ["run", `/runs/${stuck.run_id}`, ".windowed .row"],
      ["timeline", `/runs/${bounced.run_id}?tab=timeline`, "#view"],
      ["prompt", `/runs/${stuck.run_id}?find=Paris&event=${calls[2].event_id}`, ".panel .prompt, .panel pre, .panel mark"],
      ["events", `/runs/${stuck.run_id}?tab=events&event=${calls[2].event_id}&panel=mapping`, ".panel table"],
      ["graph", `/runs/${bounced.run_id}?tab=graph`, "#view svg"],
      ["compare", `/compare?a=${stuck.run_id}&b=${other.run_id}`, "table"],
      ["session", `/sessions/${encodeURIComponent(session.session_id)}?project=${session.project}`, ".turns li"],
      ["warnings", "/warnings", "tbody tr"],
      ["overview", "/overview?since=-24h", "canvas"],
      ["status", "/status", "table"],
      ["settings", "/settings", "main"],
    ]) {
      await page.goto(`${API}${path}`);
      await page.locator(sign).first().waitFor();
      await until(async () => !(await page.getByText("Loading…").count()), `all of ${name}`, 60_000);
      await pause(1000);
      await shot(page, name);
    }
    assert.deepEqual(errors, []);
  },

  /** A stranger sees nothing but what to do. */
  async signIn(browser) {
    const page = await (await browser.newContext()).newPage();
    await page.goto(API);
    await page.getByRole("heading", { name: "Which key may read here?" }).waitFor();
    await page.getByLabel("Token").fill("wrong");
    await page.getByRole("button", { name: "Read" }).click();
    await page.getByLabel("Token").waitFor();
    await page.getByLabel("Token").fill(TOKEN);
    await page.getByRole("button", { name: "Read" }).click();
    await page.getByLabel("Search runs").waitFor();
  },

  /** New runs wait until they are asked for; those that are shown change in their places. */
  async liveList(browser) {
    const running = new Run("still going").llm("gpt-4o-mini", "hello", "hello");
    await stored(running, 1);
    const { page, errors } = await opened(browser);
    const row = page.locator(".grid-runs .space .row", { hasText: running.id.slice(0, 8) }).or(page.locator(".grid-runs .space .row").first());
    await row.waitFor();
    const before = await page.locator(".grid-runs .space .row").count();
    await stored(looping("came later"), 13);
    await page.getByRole("button", { name: /new run/ }).waitFor();
    assert.equal(await page.locator(".grid-runs .space .row").count(), before, "no row moves by itself");
    await page.getByRole("button", { name: /new run/ }).click();
    await page.getByRole("link", { name: "came later" }).waitFor();
    assert.deepEqual(errors, []);
  },

  /** A loop that grows while somebody reads: what they look at stays where it is. */
  async liveRun(browser) {
    const run = new Run("growing");
    for (let turn = 0; turn < 60; turn++) run.llm("gpt-4o-mini", `question ${turn}`, `answer ${turn}`);
    await stored(run, 60);
    const { page, errors } = await opened(browser);
    await page.goto(`${API}/runs/${run.id}?tab=events`);
    const list = page.locator(".windowed");
    await list.locator(".row").nth(3).waitFor();
    await list.evaluate((box) => box.scrollTo(0, 900));
    await pause(300);
    const total = Number(await list.getAttribute("aria-rowcount"));
    const firstRows = () => list.evaluate((box) => [...box.querySelectorAll(".space .row")].slice(0, 12).map((row) => row.textContent).join("|"));
    const seen = await firstRows();
    for (let turn = 0; turn < 20; turn++) run.tool("web_search", '{"q": "the same"}', "the same answer, word for word, as before");
    await stored(run, 80);
    await until(async () => Number(await list.getAttribute("aria-rowcount")) > total, "more rows");
    assert.equal(await list.evaluate((box) => box.scrollTop), 900, "the list does not jump");
    assert.equal(await firstRows(), seen);
    await page.locator(".says", { hasText: "web_search" }).waitFor();
    assert.deepEqual(errors, []);
  },

  /** What is chosen stands in the address, and is there again after a reload. */
  async reload(browser) {
    const run = await stored(looping("reloaded"), 13);
    const { page } = await opened(browser);
    await page.goto(`${API}/runs/${run.id}`);
    await page.getByRole("tab", { name: "Events" }).click();
    await page.getByLabel("Find in this run").fill("web_search");
    await page.locator(".grid-events .space .row").nth(2).click();
    await page.getByRole("tab", { name: "Details" }).click();
    await page.locator(".details").waitFor();
    const [address, shown] = [page.url(), await page.locator(".panel").innerText()];
    await page.reload();
    await page.locator(".details").waitFor();
    assert.equal(page.url(), address);
    assert.equal(await page.locator(".panel").innerText(), shown);
    assert.equal(await page.getByLabel("Find in this run").inputValue(), "web_search");
    await page.goBack();
    assert.notEqual(page.url(), address);
  },

  /** As many tabs as somebody may leave open: one of them listens to what is stored, and tells the others. */
  async tabs(browser) {
    const run = await stored(looping("in six tabs"), 13);
    const { page: first, context } = await opened(browser);
    let streams = 0;
    context.on("request", (request) => void (request.url().includes("/api/v1/stream") && streams++));
    await first.goto("about:blank");
    const pages = [];
    for (let tab = 0; tab < 7; tab++) {
      const page = await context.newPage();
      await page.goto(tab % 2 ? `${API}/` : `${API}/runs/${run.id}`);
      pages.push(page);
    }
    for (const [tab, page] of pages.entries()) await page.locator(tab % 2 ? ".grid-runs .row" : ".says").first().waitFor({ timeout: 5000 });
    await pause(1000);
    assert.equal(streams, 1, "one tab listens for all");
    await stored(looping("told to all"), 13);
    for (const page of [pages[1], pages[5]]) await page.getByRole("button", { name: /new run/ }).waitFor({ timeout: 5000 });
    await pages[0].close();
    await stored(looping("told by the next"), 13);
    await until(() => streams === 2, "another tab listens");
    await pages[3].getByRole("button", { name: /[23] new runs/ }).waitFor({ timeout: 10_000 });
  },

  /** Where no stream comes through, the page asks from time to time. */
  async noStream(browser) {
    const { page } = await opened(browser);
    await page.context().route("**/api/v1/stream**", (route) => route.abort());
    await page.reload();
    await stored(looping("seen anyhow"), 13);
    await page.getByRole("button", { name: /new run/ }).or(page.getByRole("link", { name: "seen anyhow" })).first().waitFor({ timeout: 10_000 });
  },

  /** Each message once, calls of tools with their results, reasoning and repetitions folded. */
  async transcript(browser) {
    const run = new Run("a conversation");
    const told = [["system", "You are terse."], ["user", "Where is Paris?"]];
    run.chat("gpt-4o-mini", told, "In France.", { reasoning: "The capital, not the hero." });
    run.chat("gpt-4o-mini", [...told, ["assistant", "In France."], ["user", "And Lyon?"]], "Also in France.");
    for (let turn = 0; turn < 5; turn++) run.tool("web_search", '{"q": "lyon"}', "Lyon is a city in France");
    await stored(run.end(), 8);
    const { page, errors } = await opened(browser);
    await page.goto(`${API}/runs/${run.id}`);
    const steps = page.locator(".step");
    await steps.getByText("And Lyon?").waitFor();
    for (const words of ["Where is Paris?", "And Lyon?"]) assert.equal(await steps.getByText(words).count(), 1, `${words} once`);
    await steps.locator("summary", { hasText: "reasoning" }).click();
    await steps.locator("details[open] .words", { hasText: "not the hero" }).waitFor();
    await steps.getByText("Lyon is a city in France").first().waitFor();
    await steps.getByText("4 more times").waitFor();
    assert.equal(await steps.count(), 4);
    await steps.getByRole("button", { name: "Show" }).click();
    await until(async () => (await steps.count()) === 7, "all of them");
    assert.deepEqual(errors, []);
  },

  /** A text is found in what was said, wherever it stands; the way leads from one event to the next. */
  async find(browser) {
    const run = new Run("to be searched");
    run.chat("gpt-4o-mini", [["system", "You are terse."], ["user", "Wo liegt die Ölmühle von 巴黎?"]], "I look.");
    for (let turn = 0; turn < 40; turn++) run.tool("lookup", `{"page": ${turn}}`, `page ${turn} is about nothing`);
    run.tool("lookup", '{"page": {"of": {"a": {"book": "\\u00d6lm\\u00fchle"}}}}', "the mill of Paris");
    run.chat("gpt-4o-mini", [["user", "Anything else?"]], `${"No. ".repeat(2000)} But the ölmühle, and again the ÖLMÜHLE, is by the river.`);
    await stored(run.end(), 44);
    const { page, errors } = await opened(browser);
    await page.goto(`${API}/runs/${run.id}`);
    await page.locator(".step").first().waitFor();
    const marks = () => page.evaluate(() => [...(CSS.highlights.get("found") ?? [])].map((range) => range.toString()));
    await page.keyboard.press("Control+f");
    await page.keyboard.type("ölmühle");
    await page.locator(".find", { hasText: "4 places, 3 events" }).waitFor();
    await until(async () => (await marks()).includes("Ölmühle"), "a mark in the transcript");
    await page.keyboard.press("Enter");
    await page.locator(".find", { hasText: "1 of 3 events" }).waitFor();
    await page.locator(".row.active", { hasText: "巴黎" }).waitFor();
    await page.keyboard.press("Enter");
    await page.locator(".row.active", { hasText: "mill of Paris" }).waitFor();
    await page.locator(".panel .leaf", { hasText: "Ölmühle" }).waitFor();
    await page.keyboard.press("Enter");
    await page.locator(".find", { hasText: "3 of 3 events" }).waitFor();
    await until(async () => page.locator(".panel").evaluate((panel) => {
      const [inner, outer] = [[...(CSS.highlights.get("found") ?? [])].filter((range) => panel.contains(range.startContainer)).at(-1)?.getBoundingClientRect(), panel.getBoundingClientRect()];
      return inner && inner.height > 0 && inner.top >= outer.top && inner.bottom <= outer.bottom;
    }), "the last place in sight");
    await page.keyboard.press("Shift+Enter");
    await page.locator(".find", { hasText: "2 of 3 events" }).waitFor();
    await page.reload();
    await page.locator(".find", { hasText: "2 of 3 events" }).waitFor();
    await page.getByRole("tab", { name: "Events" }).click();
    await page.getByText("3 of 44 events").waitFor();
    await page.getByLabel("Find in this run").fill("nobody says this");
    await page.locator(".find", { hasText: "in no text" }).waitFor();
    await page.keyboard.press("Escape");
    await until(() => !new URL(page.url()).searchParams.has("find"), "nothing is looked for");
    assert.deepEqual(await marks(), []);
    assert.deepEqual(errors, []);
  },

  /** What is new in a prompt since the call before of the same agent. */
  async prompt(browser) {
    const run = new Run("a growing prompt");
    const told = [["system", "You are terse."], ["user", "Where is Paris?"], ["assistant", "In France."]];
    run.chat("gpt-4o-mini", told.slice(0, 2), "In France.");
    run.chat("gpt-4o-mini", [...told, ["user", "And Lyon?"]], "Also in France.");
    run.chat("gpt-4o-mini", [told[0], ["user", "In short: cities of France"], ["user", "And Nice?"]], "There too.");
    await stored(run.end(), 4);
    const { page, errors } = await opened(browser);
    await page.goto(`${API}/runs/${run.id}`);
    const panel = page.locator(".panel");
    await page.locator(".step").nth(1).click();
    await panel.getByText("1 message more than").waitFor();
    await panel.locator(".spoken.added", { hasText: "And Lyon?" }).waitFor();
    assert.equal(await panel.locator("details[open]").count(), 0, "what is known is folded");
    await panel.getByText("3 messages as before").click();
    await panel.locator("details[open]", { hasText: "Where is Paris?" }).waitFor();
    await panel.getByRole("button", { name: "the call before" }).click();
    await page.locator(".row.active", { hasText: "Where is Paris?" }).waitFor();
    assert.equal(await panel.locator(".spoken.added, .spoken.removed").count(), 0, "the first call has none before it");
    await page.locator(".step").nth(2).click();
    await panel.getByText("2 messages more than, and 4 less").or(panel.getByText("2 messages more than")).waitFor();
    await panel.locator(".spoken.removed", { hasText: "And Lyon?" }).waitFor();
    assert.equal(await panel.locator(".spoken.removed").count(), 4);
    assert.deepEqual(errors, []);
  },

  /** What took the time: first tokens, the critical path, the whole at a glance; and why a span reads so. */
  async timeline(browser) {
    const run = new Run("with first tokens");
    run.chat("gpt-4o-mini", [["user", "one"]], "two", { took: 400, firstToken: 100 }).tool("lookup", "{}", "found", { took: 100 });
    await stored(run.end(), 3);
    const { page, errors } = await opened(browser);
    await page.goto(`${API}/runs/${run.id}?tab=timeline`);
    await page.getByText(/It waited for models 80 %, tools 20 %/).waitFor();
    await page.locator(".track[title='first token after 100 ms'] .mark").waitFor();
    assert.equal(await page.locator(".bar.critical").count(), 3);
    await page.locator(".minimap").click({ position: { x: 1200, y: 5 } });
    await page.locator(".row.active", { hasText: "lookup" }).waitFor();
    await page.getByRole("tab", { name: "Why" }).click();
    await page.locator(".panel").getByText("openinference", { exact: true }).waitFor();
    await page.locator(".panel").getByRole("row", { name: /tool\.name/ }).waitFor();
    await page.getByRole("tab", { name: "Raw" }).last().click();
    await page.locator(".panel").getByText("resourceSpans").waitFor();
    assert.deepEqual(errors, []);
  },

  /** Two runs side by side, from the list by keys. */
  async compare(browser) {
    const runs = [["Paris", "18 degrees"], ["Oslo", "4 degrees"]].map(([place, answer], index) =>
      new Run("weather", { service: place, at: Date.now() - 50_000 + 1000 * index }).llm("gpt-4o-mini", "What is the weather?", "I look.").tool("weather", JSON.stringify({ place }), answer).end());
    for (const run of runs) await stored(run, 3);
    const { page, errors } = await opened(browser);
    await page.goto(`${API}/?q=${encodeURIComponent("name:weather*")}`);
    await page.locator(".grid-runs .space .row").nth(1).waitFor();
    for (const key of ["j", "c", "j", "c"]) await page.keyboard.press(key);
    await page.getByText(/They part at step 2, weather: arguments, result/).waitFor();
    await page.getByRole("row", { name: /place/ }).getByText("Oslo").waitFor();
    await page.keyboard.press("n");
    await page.locator(".grid-pairs .row.active", { hasText: "≠ arguments, result" }).waitFor();
    assert.equal(new URL(page.url()).searchParams.get("step"), "1");
    await page.getByRole("link", { name: "The step in B" }).click();
    await page.locator(".panel").getByText("degrees").waitFor();
    assert.deepEqual(errors, []);
  },

  /** A conversation's runs as its turns. */
  async session(browser) {
    for (const [place, words] of ["first words", "second words"].entries())
      await stored(new Run(words, { session: "talk/1", at: Date.now() - 90_000 + 10_000 * place }).llm("gpt-4o-mini", words, `answer to ${words}`).end(), 2);
    const { page, errors } = await opened(browser);
    await page.getByRole("link", { name: "second words" }).click();
    await page.getByRole("link", { name: /session talk/ }).click();
    await page.getByRole("heading", { name: "talk/1" }).waitFor();
    assert.match(page.url(), /talk%2F1/);
    await page.locator(".turns li").nth(1).waitFor();
    assert.deepEqual(await page.locator(".turns h2 a").allInnerTexts(), ["first words", "second words"]);
    await stored(new Run("third words", { session: "talk/1" }).llm("gpt-4o-mini", "more", "and more").end(), 2);
    await page.getByRole("link", { name: "third words" }).waitFor();
    assert.deepEqual(errors, []);
  },

  /** Keys are made and revoked, retention is tried before it holds, and redaction can be read. */
  async settings(browser) {
    const { page, errors } = await opened(browser);
    await page.goto(`${API}/settings`);
    await page.getByLabel("Name").fill("for the shop");
    await page.getByRole("button", { name: "Make it" }).click();
    await page.getByText("shown this once").waitFor();
    await page.getByRole("row", { name: /for the shop/ }).getByRole("button", { name: "Revoke" }).click();
    await page.getByRole("button", { name: /Really revoke/ }).click();
    await page.getByLabel("Log records").fill("7");
    await page.getByRole("button", { name: "Change…" }).click();
    await page.getByText("This deletes nothing now").waitFor();
    assert.notEqual((await api("/db/retention")).policy.logs_days, 7, "only tried");
    await page.getByRole("button", { name: "Keep it so" }).click();
    await page.getByText("It holds from now on").waitFor();
    assert.equal((await api("/db/retention")).policy.logs_days, 7);
    await page.getByRole("row", { name: "all nothing nothing" }).waitFor();
    assert.deepEqual(errors, []);
  },

  /** Conversations, found by what their runs are, and the way into one. */
  async sessions(browser) {
    for (const turn of [1, 2]) await stored(new Run(`turn ${turn} of a chat`, { session: "chat with / a slash" }).chat("gpt-4o-mini", [["user", `question ${turn}`]], "an answer").end(), 2);
    const { page, errors } = await opened(browser);
    await page.getByRole("link", { name: "Sessions" }).click();
    const row = page.getByRole("row", { name: /chat with \/ a slash/ });
    await row.waitFor();
    assert.match(await row.innerText(), /\t2\t/, "two runs");
    await page.getByLabel("Search runs").fill("name:nobody-is-called-so");
    await page.keyboard.press("Enter");
    await page.getByText("No session is like this").waitFor();
    await page.getByRole("button", { name: "Show all sessions" }).click();
    await row.getByRole("link").click();
    await page.getByRole("link", { name: "turn 2 of a chat" }).waitFor();
    assert.deepEqual(errors, []);
  },

  /** Two runs are compared without a keyboard. */
  async pointer(browser) {
    for (const name of ["to be pointed at", "the one beside it"]) await stored(looping(name), 13);
    const { page, errors } = await opened(browser, { viewport: { width: 390, height: 850 }, hasTouch: true });
    await page.getByText(/^\d+ runs? · /).waitFor();
    await page.getByRole("button", { name: "Mark it for comparison: to be pointed at" }).first().tap();
    await page.getByText("for comparison: choose").waitFor();
    await page.getByRole("button", { name: "Compare it with the marked run: the one beside it" }).first().tap();
    await page.getByText("Both runs took the same 12 steps").waitFor();
    assert.deepEqual(errors, []);
  },

  /** What people say of a run is kept, leads to runs like it, and a run can be deleted. */
  async notes(browser) {
    const run = await stored(looping("to be noted"), 13);
    const { page, errors } = await opened(browser);
    await page.goto(`${API}/runs/${run.id}`);
    await page.getByRole("button", { name: "☆ Pin" }).click();
    await page.getByRole("button", { name: "★ Pinned" }).waitFor();
    await page.getByRole("button", { name: "Tags and note…" }).click();
    await page.getByRole("textbox", { name: "Tags" }).fill("weird, to look at, weird");
    await page.getByRole("textbox", { name: "Note" }).fill("It asks for Paris again and again.");
    await page.getByRole("button", { name: "Keep", exact: true }).click();
    await page.getByText("It asks for Paris again and again.").waitFor();
    const said = await api(`/runs/${run.id}/annotation`);
    assert.deepEqual([said.tags, said.pinned], [["weird", "to look at"], true]);
    await page.getByRole("link", { name: "to look at" }).click();
    await until(async () => (await page.locator(".grid-runs .space .row").count()) === 1, "the one with the tag");
    await page.getByRole("link", { name: "to be noted" }).click();
    await page.getByRole("button", { name: "Delete…" }).click();
    await page.getByRole("button", { name: "Really delete this run" }).click();
    await until(() => new URL(page.url()).pathname === "/", "the list");
    assert.equal((await api(`/runs/${run.id}`)).status, 410);
    assert.deepEqual(errors, []);
  },

  /** Runs that a search finds are saved as a file. */
  async exported(browser) {
    const run = await stored(looping("to be exported"), 13);
    const { page, errors } = await opened(browser);
    await page.goto(`${API}/?name=to%20be%20exported`);
    await page.getByText("Export…").click();
    const saved = async () => {
      const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Download" }).click()]);
      return { name: download.suggestedFilename(), bytes: readFileSync(await download.path()) };
    };
    const table = await saved();
    assert.match(table.name, /^eddyline-runs-.*\.csv$/);
    assert.equal(table.bytes.toString().trim().split("\n").length, 2);
    await page.getByLabel("Rows").selectOption("spans");
    await page.getByLabel("Format").selectOption("otlp-json");
    assert.ok((await saved()).bytes.includes(run.id));
    await page.keyboard.press("Escape");
    await page.getByRole("button", { name: "Download" }).waitFor({ state: "hidden" });
    await page.goto(`${API}/runs/${run.id}`);
    await page.getByText("Export…").click();
    await page.getByLabel("Rows").selectOption("all");
    assert.equal((await saved()).bytes.subarray(0, 2).toString(), "PK");
    assert.deepEqual(errors, []);
  },

  /** Who has a key that only reads is offered nothing that it may not, and is told so. */
  async lesserKey(browser) {
    const run = await stored(looping("read by a team"), 13);
    const made = await (await fetch(`${API}/api/v1/tokens`, { method: "POST", headers: { Authorization: `Bearer ${TOKEN}`, "Content-Type": "application/json" }, body: JSON.stringify({ name: "a team", project: "default", scopes: ["read", "content"] }) })).json();
    await until(async () => (await fetch(`${API}/api/v1`, { headers: { Authorization: `Bearer ${made.token}` } })).ok, "the key is known");
    const { page, errors } = await opened(browser);
    await page.goto(`${API}/runs/${run.id}`);
    await page.getByRole("button", { name: "Delete…" }).waitFor();
    await page.goto(`${API}/status`);
    await page.goto(`${API}/runs/${run.id}#token=${made.token}`);
    await page.locator(".step").first().waitFor();
    await page.goto(`${API}/settings`);
    await page.getByText("This one may read, content, in the project default alone.").waitFor();
    assert.equal(await page.getByText("A new key").count(), 0);
    await page.goto(`${API}/runs/${run.id}`);
    await page.locator(".step").first().waitFor();
    for (const offer of ["☆ Pin", "Tags and note…", "Delete…"]) assert.equal(await page.getByRole("button", { name: offer }).count(), 0, offer);
    assert.deepEqual(errors, []);
  },

  /** Pictures are shown, from whatever form they were sent in; where nothing was sent along it says what to do. */
  async pictures(browser) {
    const run = new Run("with a picture").chat("gpt-4o", [["user", `data:image/png;base64,${PICTURE}`], ["user", "What is this?"]], "A square.");
    run.parts("gpt-4o", [{ type: "image", "image.image.url": `data:image/png;base64,${PICTURE}` }, { type: "text", text: "And this?" }], "The same.");
    await stored(run.end(), 3);
    const { page, errors } = await opened(browser);
    await page.goto(`${API}/runs/${run.id}`);
    const widths = (/** @type {string} */ place) => page.locator(place).evaluateAll((all) => all.map((one) => /** @type {HTMLImageElement} */ (one).naturalWidth));
    await until(async () => (await widths(".step img.picture")).join() === "16", "the picture that is a text");
    await page.locator(".step", { hasText: "And this?" }).click();
    await page.locator(".panel").getByText("1 picture").waitFor();
    await until(async () => (await widths(".panel img.picture")).join() === "16", "the picture of the message");
    const silent = await stored(new Run("without content").llm("gpt-4o", "", "").end(), 2);
    await page.goto(`${API}/runs/${silent.id}`);
    await page.getByText("Programs often send no content unless they are told to").waitFor();
    assert.deepEqual(errors, []);
  },

  /** Where is my trace? */
  async status(browser) {
    const run = await stored(looping("looked for"), 13);
    const { page, errors } = await opened(browser);
    await page.goto(`${API}/status`);
    await page.getByLabel("Where is my trace?").fill("0".repeat(31) + "1");
    await page.getByRole("button", { name: "Look" }).click();
    await page.getByText("It is not stored").waitFor();
    await page.getByLabel("Where is my trace?").fill(run.id);
    await page.getByRole("button", { name: "Look" }).click();
    await page.getByRole("link", { name: "looked for" }).waitFor();
    // What only other configurations tell of.
    await page.route("**/api/v1/status", async (route) => {
      const told = await (await route.fetch()).json();
      const own_traces = { sent: 7, lost: 2, waiting: 1, last_error: "nobody listens there" };
      const forwards = { "otlp/jaeger": { traces: { sent: 1234, rejected: 1, failed: 0, given_up: 0, waiting: 5, last_error: null } } };
      await route.fulfill({ json: { ...told, over_quota: [{ tenant: "default", project: "shop", requests: 3 }], own_traces, forwards } });
    });
    await page.getByText("3 requests refused: the project shop is over its quota.").waitFor();
    await page.getByText("The collector's own traces are not taken: nobody listens there").waitFor();
    await page.getByRole("row", { name: "otlp/jaeger traces 1,234 1 0 5" }).waitFor();
    assert.deepEqual(errors, []);
  },

  /** From the list to the evidence of a warning by keys alone. */
  async keyboard(browser) {
    await stored(looping("by keys"), 13);
    const { page, errors } = await opened(browser);
    await page.locator(".grid-runs .space .row").first().waitFor();
    await page.keyboard.press("/");
    await page.keyboard.type("name:by warn:exact");
    await page.keyboard.press("Escape");
    await page.getByLabel("Search runs").fill('name:"by keys" warn:exact_repeat');
    await page.keyboard.press("Enter");
    await page.keyboard.press("Escape");
    await page.keyboard.press("Escape");
    await until(async () => (await page.locator(".grid-runs .space .row").count()) === 1, "one run");
    await page.keyboard.press("j");
    await page.keyboard.press("Enter");
    await page.locator(".says", { hasText: "called 6 times" }).waitFor();
    await page.keyboard.press("n");
    await page.locator(".panel").getByText("weather in Paris").first().waitFor();
    await page.locator(".row.active").waitFor();
    await page.keyboard.press("2");
    await page.locator(".grid-timeline .row.active", { hasText: "the same 2 steps" }).waitFor();
    await page.keyboard.press("?");
    await page.getByRole("dialog", { name: "Keys" }).waitFor();
    await page.keyboard.press("Escape");
    await page.keyboard.press("g");
    await page.locator(".grid-runs").waitFor();
    assert.deepEqual(errors, []);
  },

  /** Words fields and values are completed from what is stored; what is wrong is marked where it is. */
  async search(browser) {
    await stored(looping("searched"), 13);
    const { page } = await opened(browser);
    await page.locator(".grid-runs .space .row").first().waitFor();
    const box = page.getByLabel("Search runs");
    await box.click();
    await box.pressSequentially("too");
    await page.getByRole("option", { name: /^tool:/ }).waitFor();
    await page.keyboard.press("Tab");
    await page.getByRole("option", { name: /web_search/ }).waitFor();
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("Enter");
    await page.keyboard.press("Enter");
    await until(() => new URL(page.url()).searchParams.get("q") === "tool:web_search", "the search in the address");
    await box.fill("colour:red");
    await page.keyboard.press("Enter");
    await page.locator(".wrong", { hasText: "colour" }).waitFor();
    await box.fill("name:nobody-is-called-so");
    await page.keyboard.press("Enter");
    await page.getByText("There are some without").waitFor();
  },

  /** What strangers wrote is text wherever it stands. */
  async hostile(browser) {
    const corpus = [
      "<img src=x onerror=alert(1)>", "<script>alert(1)</script>", '"><svg onload=alert(1)>', "javascript:alert(1)", "{{constructor.constructor('alert(1)')()}}",
      "${alert(1)}", "<iframe srcdoc='<script>alert(1)</script>'>", "\u202Ereversed", "</textarea><a href=javascript:alert(1)>x</a>", "data:image/svg+xml;base64,PHN2ZyBvbmxvYWQ9YWxlcnQoMSk+",
      "<a href=//evil.example>x</a>", "\u0000\u0007 controls",
    ];
    const run = new Run(corpus[0], { service: corpus[1] });
    for (const word of corpus) run.llm(word, word, word).tool(word, JSON.stringify({ [word]: word }), word, { failed: true });
    await stored(run.end(), 2 * corpus.length + 1);
    const { page, errors } = await opened(browser);
    const foreign = [];
    page.on("request", (request) => new URL(request.url()).origin !== API && !request.url().startsWith("blob:") && foreign.push(request.url()));
    for (const tab of ["transcript", "timeline", "events", "graph", "raw"]) {
      await page.goto(`${API}/runs/${run.id}?tab=${tab}`);
      await page.locator("#view", { hasText: "onerror" }).waitFor();
      const rows = page.locator("#view .windowed .space .row");
      for (let row = 0; row < Math.min(12, await rows.count()); row += 3) await rows.nth(row).click();
    }
    for (const place of PAGES) {
      await page.goto(API + place);
      await pause(400);
      assert.equal(await page.locator("#app script, #app iframe, #app [onerror], #app [onload], a[href^='javascript:'], a[href*='evil']").count(), 0);
    }
    assert.deepEqual(foreign, []);
    assert.deepEqual(errors, []);
  },

  /** Every view as a reader meets it, on a desk and on a phone: what it is made of is as it was kept, and nothing of it
   * is pushed out of sight. Its structure is compared, not its pixels, which differ from one machine to the next. */
  async layout(browser) {
    const at = Date.now() - 3_600_000;
    const run = new Run("support_agent_with_a_name_as_long_as_those_that_frameworks_generate.RunnableSequence", { at, session: "客户 4711 layout", service: "خدمة", seed: "layout" });
    const told = [["system", "You are terse."], ["user", "من أين يأتي النهر؟"]];
    run.chat("gpt-4o-mini", told, "来自山中。", { reasoning: "The river, not the bank." });
    for (let turn = 0; turn < 6; turn++) run.tool("web_search_with_a_long_name", '{"q": "the same"}', "the same answer, word for word, as before");
    run.tool("lookup", "{}", "", { failed: true });
    run.chat("gpt-4o-mini", [...told, ["assistant", "来自山中。"], ["user", "x".repeat(3000)]], "So it is.");
    await stored(run.end(), 10);
    const other = await stored(new Run("the other", { at: at + 1000, seed: "other" }).chat("gpt-4o-mini", told, "来自山中。").end(), 2);
    const { data } = await api(`/runs/${run.id}/tree?collapse_repeats=0`);
    const call = data.id.filter((_, place) => data.kind[place] === "LLM").at(-1);
    const views = {
      transcript: `/runs/${run.id}`, timeline: `/runs/${run.id}?tab=timeline`, events: `/runs/${run.id}?tab=events`, graph: `/runs/${run.id}?tab=graph`,
      prompt: `/runs/${run.id}?event=${call}.end`, found: `/runs/${run.id}?find=same`, details: `/runs/${run.id}?tab=events&event=${call}.end&panel=details`,
      session: `/sessions/${encodeURIComponent("客户 4711 layout")}?project=default`, compare: `/compare?a=${run.id}&b=${other.id}`,
    };
    const others = Object.fromEntries(PAGES.map((place) => [place, place]));
    for (const width of [1440, 390]) {
      const { page, errors } = await opened(browser, { viewport: { width, height: 850 } });
      for (const [name, place] of Object.entries({ ...views, ...others })) {
        await page.goto(API + place);
        await page.locator("main").waitFor();
        await until(async () => (await page.getByText("Loading…").count()) === 0 && (await page.locator(".said .dim", { hasText: /^…$/ }).count()) === 0, `${name} is there`);
        await pause(300);
        assert.deepEqual(await page.evaluate(outOfSight), [], `${name} at ${width}`);
        if (width < 1440 || !(name in views)) continue;
        const kept = new URL(`layouts/${name}.yaml`, import.meta.url);
        const shown = async () => withoutChance(await page.locator("#app").ariaSnapshot());
        if (process.env.KEEP_LAYOUTS) {
          await pause(2000);
          writeFileSync(kept, await shown());
        }
        const wanted = readFileSync(kept, "utf8");
        await until(async () => (await shown()) === wanted, "", 5000).catch(() => {});
        assert.equal(await shown(), wanted, `${name} is not as layouts/${name}.yaml has it (KEEP_LAYOUTS=1 keeps it as it is now)`);
      }
      assert.deepEqual(errors, []);
      await page.context().close();
    }
  },

  /** Nothing that axe finds wrong, in both themes. */
  async accessible(browser) {
    const run = await stored(looping("for everybody"), 13);
    const other = await stored(new Run("for nobody", { session: "axe" }).chat("gpt-4o-mini", [["user", "one"]], "two", { reasoning: "so" }).tool("lookup", "{}", "", { failed: true }).end(), 3);
    const [node] = (await api(`/runs/${other.id}/tree`)).data.id.slice(1);
    const event = `&event=${(await api(`/runs/${run.id}/warnings`)).data[0].onset_event_id}&warning=0`;
    const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
    for (const colorScheme of ["light", "dark"]) {
      const { page } = await opened(browser, { colorScheme, bypassCSP: true });
      const views = ["transcript", "timeline", "events", "graph", "raw"].map((tab) => `/runs/${run.id}?tab=${tab}${event}`);
      const panels = ["details", "mapping", "raw"].map((panel) => `/runs/${other.id}?event=${node}.end&panel=${panel}`);
      const places = [...PAGES, ...views, ...panels, `/runs/${run.id}`, `/compare?a=${run.id}&b=${other.id}`, "/sessions/axe", "/status?trace=1", "/?q=name:nobody-is-called-so", "/?q=colour:red"];
      for (const place of places) {
        await page.goto(API + place);
        await pause(900);
        if (place === "/") await page.keyboard.press("?");
        await page.evaluate(axe);
        const { violations } = await page.evaluate(() => globalThis.axe.run());
        assert.deepEqual(violations.map(({ id, nodes }) => `${colorScheme} ${place} ${id}: ${nodes.slice(0, 3).map((node) => node.html.slice(0, 160)).join(" ")}`), []);
      }
    }
  },

  /** The collector goes away and comes back. */
  async offline(browser) {
    await stored(looping("still shown"), 13);
    const { page } = await opened(browser);
    await page.getByRole("link", { name: "still shown" }).first().waitFor();
    await page.route("**/api/**", (route) => route.abort());
    await page.getByRole("alert").getByText("does not answer").waitFor({ timeout: 10_000 });
    await page.getByRole("link", { name: "still shown" }).first().waitFor();
    await page.unroute("**/api/**");
    await page.getByText("does not answer").waitFor({ state: "detached", timeout: 10_000 });
  },

  /** Runs of 10,000 and of 50,000 events are as quick to look at as small ones. */
  async large(browser) {
    for (const spans of [10_000, 50_000]) {
      const run = new Run(`large ${spans}`, { at: Date.now() - 3_600_000 });
      for (let span = 0; span < spans; span++)
        if (span % 2) run.tool(`tool_${span % 17}`, `{"page": ${span}}`, `result ${span}`, { took: 5 });
        else run.llm("gpt-4o-mini", `question ${span}`, `answer ${span}`, { took: 20 });
      await until(async () => {
        await run.send(HTTP);
        return true;
      }, "sent");
      await until(async () => (await api(`/runs/${run.id}`)).counts?.spans >= spans, "all stored", 240_000);
      const { page, errors } = await opened(browser);
      for (const tab of ["timeline", "events", "transcript"]) {
        // A machine that is busy with other things may stop any frame: of three tries the best is the page's.
        const tries = [];
        while (tries.length < 3 && !tries.some(isQuick)) tries.push(await lookedAt(page, `${API}/runs/${run.id}?tab=${tab}`, spans * 0.9));
        console.log(JSON.stringify({ spans, tab, tries }));
        assert.ok(tries.some(isQuick), `${tab} of ${spans}: ${JSON.stringify(tries)}`);
      }
      assert.deepEqual(errors, []);
      await page.context().close();
    }
  },
};

const isQuick = (look) => look.firstRowsMs < 2000 && look.nodes < 2000 && look.max < 200;

/** How quick a long list is: its first rows, and frames (ms) while it is scrolled. */
async function lookedAt(page, address, rows) {
  const began = Date.now();
  await page.goto(address);
  await page.locator("#view .windowed .space .row").first().waitFor();
  const firstRowsMs = Date.now() - began;
  await until(async () => Number(await page.locator("#view .windowed").getAttribute("aria-rowcount")) >= rows, "all rows", 120_000);
  return { firstRowsMs, ...(await page.evaluate(async () => {
    const box = document.querySelector("#view .windowed");
    const frames = [];
    let before = performance.now();
    for (let step = 0; step < 90; step++) {
      box.scrollTop += 700;
      await new Promise((resolve) => requestAnimationFrame(resolve));
      frames.push(performance.now() - before);
      before = performance.now();
    }
    frames.sort((one, other) => one - other);
    return { p50: frames[45], p95: frames[85], max: frames[89], nodes: document.querySelectorAll("*").length };
  })) };
}

/** What can be pressed or filled in but lies beside the window, though nothing around it can be scrolled there. */
function outOfSight() {
  const found = document.documentElement.scrollWidth > innerWidth ? [`the page is ${document.documentElement.scrollWidth} wide`] : [];
  for (const element of document.querySelectorAll("#app a, #app button, #app input, #app select, #app [role=tab]")) {
    const place = element.getBoundingClientRect();
    if (!place.width || element.closest(".skip") || (place.left >= 0 && place.right <= innerWidth + 1)) continue;
    let around = element.parentElement;
    while (around && !(around.scrollWidth > around.clientWidth && ["auto", "scroll"].includes(getComputedStyle(around).overflowX))) around = around.parentElement;
    if (!around) found.push(element.outerHTML.slice(0, 120));
  }
  return found;
}

/** A structure without what differs each time or with the prices, ids, times and sums, and without what is only long. */
const withoutChance = (text) => text.replace(/x{50,}/g, "xxx…").replace(/\$[\d.]+/g, "$N").replace(/\b[0-9a-f]{16,32}\b/g, "ID").replace(/\b[0-9a-f]{8}\b/g, "ID").replace(/(\d{4}-)?(\d\d-\d\d )?\d\d:\d\d:\d\d/g, "TIME").replace(/http:\/\/127\.0\.0\.1:\d+/g, "HERE");

async function shot(page, name) {
  if (SHOTS) await page.screenshot({ path: `${SHOTS}/${name}.png` });
}

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: FLAGS });
try {
  await scenarios[process.argv[2]](browser);
} finally {
  await browser.close();
}
