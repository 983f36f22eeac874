// @ts-check
/** The JSON API: documents and streams, with the token that this browser keeps. */

const KEPT = "eddyline.token";

/** What the API says went wrong. */
export class ApiError extends Error {
  /**
   * @param {number} status 0 if there was no answer
   * @param {string} detail
   * @param {any} [problem] the problem document
   */
  constructor(status, detail, problem) {
    super(detail);
    this.status = status;
    this.problem = problem;
  }
}

/** Takes a token from the address (`#token=…`) and removes it there, so that it is neither shared nor kept in history. */
export function takeToken() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) {
    setToken(given);
    history.replaceState(null, "", location.pathname + location.search);
  }
}

export const token = () => localStorage.getItem(KEPT) ?? "";

/** @param {string} value */
export function setToken(value) {
  if (value) localStorage.setItem(KEPT, value);
  else localStorage.removeItem(KEPT);
}

/** @typedef {Record<string, string | number | boolean | null | undefined>} Query */

/** @param {string} path @param {Query} [query] */
export function address(path, query = {}) {
  const given = new URLSearchParams();
  for (const [name, value] of Object.entries(query))
    if (value !== null && value !== undefined && value !== "") given.set(name, String(value));
  const text = given.toString();
  return `/api/v1${path}${text && "?" + text}`;
}

/**
 * @param {string} path below /api/v1
 * @param {Query} [query]
 * @param {RequestInit} [options]
 * @returns {Promise<Response>}
 */
async function ask(path, query, options = {}) {
  const headers = { .../** @type {any} */ (options.headers) };
  if (token()) headers.Authorization = `Bearer ${token()}`;
  let response;
  try {
    response = await fetch(address(path, query), { ...options, headers, cache: "no-store" });
  } catch (error) {
    if (/** @type {Error} */ (error).name === "AbortError") throw error;
    throw new ApiError(0, "The collector does not answer.");
  }
  if (response.ok) return response;
  const problem = await response.json().catch(() => null);
  throw new ApiError(response.status, problem?.detail ?? `The collector answered ${response.status}.`, problem);
}

/** @param {string} path @param {Query} [query] @param {AbortSignal} [signal] @returns {Promise<any>} */
export const get = async (path, query, signal) => (await ask(path, query, { signal })).json();

/** @param {string} path @param {Query} [query] @param {AbortSignal} [signal] @param {string} [media] the form that is wanted */
export const getText = async (path, query, signal, media = "application/json") => (await ask(path, query, { signal, headers: { Accept: media } })).text();

/** A file, by the name that the collector gives it. @param {string} path @param {Query} query */
export async function getFile(path, query) {
  const response = await ask(path, query);
  const [, name] = /filename="([^"]+)"/.exec(response.headers.get("content-disposition") ?? "") ?? ["", "eddyline"];
  return { blob: await response.blob(), name };
}

/** @param {string} method @param {string} path @param {any} [body] */
export async function send(method, path, body) {
  const response = await ask(path, {}, {
    method,
    headers: body === undefined ? {} : { "Content-Type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await response.text();
  return text ? JSON.parse(text) : null;
}

/**
 * Documents of an endless stream of lines: one promise for its beginning, one for its end.
 * @param {string} path
 * @param {Query} query
 * @param {(document: any) => void} take
 * @returns {{ begun: Promise<Response>, ended: Promise<void> }}
 */
export function listen(path, query, take) {
  const begun = ask(path, query, { headers: { Accept: "application/x-ndjson" } });
  const all = async () => {
    const reader = /** @type {ReadableStream<Uint8Array>} */ ((await begun).body).getReader();
    const decoder = new TextDecoder();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const lines = (rest + decoder.decode(value, { stream: true })).split("\n");
      rest = /** @type {string} */ (lines.pop());
      for (const line of lines) if (line.trim()) take(JSON.parse(line));
    }
  };
  const ended = all();
  ended.catch(() => {}); // who waits for the beginning hears of it there
  return { begun, ended };
}
