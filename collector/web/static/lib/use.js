// @ts-check
/** Hooks: data that is asked for, and asked for again while somebody looks. */

import { useCallback, useEffect, useRef, useState } from "../vendor/preact.js";

/**
 * @template T
 * @typedef {{ data: T | undefined, error: any, loading: boolean, again: () => void }} Asked
 */

/**
 * What a function gives, asked for when its reasons change. Data stays while newer is on its way.
 * @template T
 * @param {(signal: AbortSignal) => Promise<T>} ask
 * @param {any[]} reasons
 * @param {{ everyMs?: number }} [options] ask again so often, unless the tab is hidden
 * @returns {Asked<T>}
 */
export function useAsked(ask, reasons, { everyMs = 0 } = {}) {
  const [state, setState] = useState(/** @type {any} */ ({ data: undefined, error: null, loading: true }));
  const [turn, setTurn] = useState(0);
  const key = JSON.stringify(reasons);
  const shown = useRef("");
  useEffect(() => {
    const leaving = new AbortController();
    /** @type {any} */
    let timer;
    const once = async () => {
      if (shown.current !== key) setState((/** @type {any} */ before) => ({ ...before, loading: true }));
      try {
        const data = await ask(leaving.signal);
        shown.current = key;
        if (!leaving.signal.aborted) setState({ data, error: null, loading: false });
      } catch (error) {
        if (!leaving.signal.aborted)
          setState((/** @type {any} */ before) => ({
            data: shown.current === key ? before.data : undefined, error, loading: false,
          }));
      }
      if (everyMs && !leaving.signal.aborted) timer = setTimeout(whenSeen, everyMs);
    };
    const whenSeen = () => {
      if (document.hidden) document.addEventListener("visibilitychange", once, { once: true, signal: leaving.signal });
      else once();
    };
    once();
    return () => {
      leaving.abort();
      clearTimeout(timer);
    };
  }, [key, turn, everyMs]);
  return { ...state, again: useCallback(() => setTurn((/** @type {number} */ before) => before + 1), []) };
}

/**
 * All rows of a list, shown as their pages come. Where they are asked for again, the old rows stay until all of the new
 * ones are there, so that nothing jumps.
 * @param {(cursor: string | null, signal: AbortSignal) => Promise<any>} ask for one page
 * @param {any[]} place what list it is: another one begins empty
 * @param {any[]} reasons to ask again
 * @returns {Asked<any[]> & { complete: boolean }}
 */
export function usePages(ask, place, reasons) {
  const [state, setState] = useState(/** @type {any} */ ({ key: "", data: undefined, error: null, complete: false }));
  const [turn, setTurn] = useState(0);
  const key = JSON.stringify(place);
  useEffect(() => {
    const leaving = new AbortController();
    const all = async () => {
      /** @type {any[]} */
      let rows = [];
      let cursor = null;
      try {
        do {
          const page = await ask(cursor, leaving.signal);
          if (leaving.signal.aborted) return;
          rows = rows.concat(page.data);
          cursor = page.page.next_cursor;
          const data = rows;
          const complete = cursor === null;
          setState((/** @type {any} */ before) =>
            complete || before.key !== key || !before.complete ? { key, data, error: null, complete } : before);
        } while (cursor);
      } catch (error) {
        if (!leaving.signal.aborted) setState((/** @type {any} */ before) => ({ ...before, error }));
      }
    };
    all();
    return () => leaving.abort();
  }, [key, JSON.stringify(reasons), turn]);
  const isHere = state.key === key;
  return {
    data: isHere ? state.data : undefined,
    error: state.error,
    complete: isHere && state.complete,
    loading: !isHere,
    again: useCallback(() => setTurn((/** @type {number} */ before) => before + 1), []),
  };
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
