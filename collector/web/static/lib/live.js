// @ts-check
/**
 * What is stored, as it is stored. A browser opens six connections to one server and a stream keeps one for good, so of
 * all tabs one listens, the one that holds a lock, and tells the others.
 */

import { listen } from "./api.js";

/** @typedef {{ event: string, data: any }} Word `run.started`, `run.updated`, `run.finished` or `warning`, and its document */
/** @typedef {(word: Word | null) => void} Hearer null: it begins, or ends, that words come */

const LOCK = "eddyline.listening";
const AGAIN_MS = 2000;
const AT_MOST_MS = 30_000;

/** @type {Set<Hearer>} */
const hearers = new Set();
const tabs = new BroadcastChannel("eddyline.stored");
let open = false;
let isListener = false;

/** Whether words come at all; if not, one has to ask from time to time. */
export const isLive = () => open;

/** Calls back with each word until the returned function is called. @param {Hearer} hearer */
export function hear(hearer) {
  hearers.add(hearer);
  return () => void hearers.delete(hearer);
}

/** @param {Word | null} word */
const tell = (word) => hearers.forEach((hearer) => hearer(word));

/** @param {boolean} state */
function opened(state) {
  if (open === state) return;
  open = state;
  tell(null);
}

tabs.onmessage = ({ data }) => {
  if (data === "open?") {
    if (isListener) tabs.postMessage(open);
  } else if (typeof data === "boolean") opened(data);
  else tell(data);
};

/** @param {boolean} state */
function announce(state) {
  opened(state);
  tabs.postMessage(state);
}

async function listenForAll() {
  isListener = true;
  for (let waitMs = AGAIN_MS; ; waitMs = Math.min(2 * waitMs, AT_MOST_MS)) {
    try {
      const words = listen("/stream", { types: "run,warning" }, (/** @type {Word} */ word) => {
        tell(word);
        tabs.postMessage(word);
      });
      await words.begun;
      announce(true);
      waitMs = AGAIN_MS / 2;
      await words.ended;
    } catch {
      // The collector is away, or the token does not open it: pages ask, and say so.
    }
    announce(false);
    await new Promise((resolve) => setTimeout(resolve, waitMs));
  }
}

/** Without a secure context there are no locks; then every tab asks from time to time. */
export function startListening() {
  tabs.postMessage("open?");
  navigator.locks?.request(LOCK, listenForAll);
}
