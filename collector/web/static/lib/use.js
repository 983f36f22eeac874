// @ts-check
/** Hooks: data that is asked for, and asked for again while somebody looks. */

import { useCallback, useEffect, useRef, useState } from "../vendor/preact.js";
import { hear, isLive } from "./live.js";

/** What is heard makes it ask again at most so often. */
const PACE_MS = 500;
/** Words may get lost on the way. */
const SELDOM_MS = 30_000;

/**
 * @template T
 * @typedef {{ data: T | undefined, error: any, loading: boolean, again: () => void }} Asked
 */

/**
 * What a function gives, asked for when its reasons change. Data stays while newer is on its way.
 * @template T
 * @param {(signal: AbortSignal, show: (part: T) => void) => Promise<T>} ask may show a part of it while the rest is on its way
 * @param {any[]} reasons
 * @param {{ everyMs?: number, hears?: (word: import("./live.js").Word) => boolean }} [options] ask again so often, unless
 *   the tab is hidden; where words of what is stored come, when one is heard that concerns it, and else seldom
 * @returns {Asked<T>}
 */
export function useAsked(ask, reasons, { everyMs = 0, hears } = {}) {
  const [state, setState] = useState(/** @type {any} */ ({ data: undefined, error: null, loading: true }));
  const [turn, setTurn] = useState(0);
  const key = JSON.stringify(reasons);
  const shown = useRef("");
  useEffect(() => {
    const leaving = new AbortController();
    /** @type {any} */
    let timer;
    let dueAt = Infinity;
    let askedAt = 0;
    let isAsking = false;
    let isStale = false;
    const once = async () => {
      dueAt = Infinity;
      askedAt = Date.now();
      isAsking = true;
      isStale = false;
      if (shown.current !== key) setState((/** @type {any} */ before) => ({ ...before, loading: true }));
      try {
        const show = (/** @type {T} */ data) => {
          shown.current = key;
          if (!leaving.signal.aborted) setState({ data, error: null, loading: true });
        };
        const data = await ask(leaving.signal, show);
        shown.current = key;
        if (!leaving.signal.aborted) setState({ data, error: null, loading: false });
      } catch (error) {
        if (!leaving.signal.aborted)
          setState((/** @type {any} */ before) => ({
            data: shown.current === key ? before.data : undefined, error, loading: false,
          }));
      }
      isAsking = false;
      if (isStale) within(PACE_MS);
      else if (everyMs) within(hears && isLive() ? SELDOM_MS : everyMs);
    };
    const whenSeen = () => {
      if (document.hidden) document.addEventListener("visibilitychange", once, { once: true, signal: leaving.signal });
      else once();
    };
    const within = (/** @type {number} */ ms) => {
      if (leaving.signal.aborted || Date.now() + ms >= dueAt) return;
      clearTimeout(timer);
      dueAt = Date.now() + ms;
      timer = setTimeout(whenSeen, ms);
    };
    const stopHearing = hears && hear((word) => {
      if (word && !hears(word)) return;
      if (isAsking) isStale = true;
      else within(Math.max(0, askedAt + PACE_MS - Date.now()));
    });
    once();
    return () => {
      leaving.abort();
      clearTimeout(timer);
      stopHearing?.();
    };
  }, [key, turn, everyMs]);
  return { ...state, again: useCallback(() => setTurn((/** @type {number} */ before) => before + 1), []) };
}

/** What takes a while to work out, after what is there already has been shown; null until then. @template T @param {() => T} work @param {any[]} reasons @returns {T | null} */
export function useLater(work, reasons) {
  const [found, setFound] = useState(/** @type {any} */ (null));
  useEffect(() => {
    const timer = setTimeout(() => setFound(work()));
    return () => clearTimeout(timer);
  }, reasons);
  return found;
}

/** The element's size in pixels. @param {any} element a ref @returns {{ width: number, height: number }} */
export function useSize(element) {
  const [size, setSize] = useState({ width: 0, height: 0 });
  useEffect(() => {
    if (!element.current) return;
    const observer = new ResizeObserver(([entry]) =>
      setSize({ width: entry.contentRect.width, height: entry.contentRect.height }));
    observer.observe(element.current);
    return () => observer.disconnect();
  }, []);
  return size;
}

/** A value once it has been the same for a while. @template T @param {T} value @param {number} ms @returns {T} */
export function useSettled(value, ms) {
  const [settled, setSettled] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(value), ms);
    return () => clearTimeout(timer);
  }, [value, ms]);
  return settled;
}

/** Changes with the theme, for what is drawn with its colours. */
export function useScheme() {
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    const turned = () => setTurn((/** @type {number} */ before) => before + 1);
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const chosen = new MutationObserver(turned);
    chosen.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
    dark.addEventListener("change", turned);
    return () => {
      chosen.disconnect();
      dark.removeEventListener("change", turned);
    };
  }, []);
  return turn;
}

/** How often a value has changed since it was first known. @param {string | undefined} value */
export function useChanges(value) {
  const held = useRef({ value, times: 0 }).current;
  if (value !== undefined && value !== held.value) {
    if (held.value !== undefined) held.times++;
    held.value = value;
  }
  return held.times;
}

/** A value that changes at most so often. @template T @param {T} value @param {number} ms @returns {T} */
export function usePaced(value, ms) {
  const held = useRef({ value, key: JSON.stringify(value), changedAt: 0 }).current;
  const [, setTurn] = useState(0);
  const key = JSON.stringify(value);
  const waitMs = key === held.key ? 0 : held.changedAt + ms - Date.now();
  if (key !== held.key && waitMs <= 0) Object.assign(held, { value, key, changedAt: Date.now() });
  useEffect(() => {
    if (waitMs <= 0) return;
    const timer = setTimeout(() => setTurn((/** @type {number} */ before) => before + 1), waitMs);
    return () => clearTimeout(timer);
  }, [key]);
  return held.value;
}
