// @ts-check
/** The search box: the query language of the API and the command line, completed from what is stored. */

import { html, useEffect, useRef, useState } from "../vendor/preact.js";
import { get } from "../lib/api.js";
import { useKeys } from "../lib/keys.js";
import { useAsked, useSettled } from "../lib/use.js";

/** The word at the cursor: where it begins, its field and what of the value is written. @param {string} text @param {number} at */
function wordAt(text, at) {
  const begin = text.lastIndexOf(" ", at - 1) + 1;
  const [, minus, field, colon, value] = /** @type {RegExpExecArray} */ (/^(-?)([\w.]*)(:?)(.*)$/.exec(text.slice(begin, at)) ?? ["", "", "", "", ""]);
  return { begin: begin + minus.length, field, value: colon ? value : null };
}

/** @param {string} value */
const quoted = (value) => (/[\s"]/.test(value) ? `"${value.replaceAll('"', '\\"')}"` : value);

/** @param {{ value: string, onSearch: (text: string) => void, error?: any }} props */
export function Search({ value, onSearch, error }) {
  const [text, setText] = useState(value);
  const [at, setAt] = useState(value.length);
  const [open, setOpen] = useState(false);
  const [picked, setPicked] = useState(-1);
  const box = useRef(/** @type {any} */ (null));
  useEffect(() => setText(value), [value]);
  useKeys({ "/": ["search", () => box.current?.focus()] });
  const word = wordAt(text, at);
  const fields = useAsked((signal) => get("/facets", {}, signal), []);
  const asked = useSettled(word.value === null ? "" : `${word.field}:${word.value}`, 150);
  const values = useAsked(async (signal) => {
    const field = asked.slice(0, asked.indexOf(":"));
    if (!field || !open) return [];
    return (await get("/facets", { of: field, prefix: asked.slice(field.length + 1).replace(/^"|\*$/g, ""), limit: 8 }, signal)).data;
  }, [asked, open]);
  /** @type {{ text: string, note: string }[]} */
  const offers = word.value === null
    ? (fields.data?.data ?? []).filter((/** @type {any} */ one) => one.field.startsWith(word.field)).slice(0, 10)
        .map((/** @type {any} */ one) => ({ text: `${one.field}:`, note: one.purpose }))
    : (Array.isArray(values.data) && !values.error ? values.data : [])
        .map((/** @type {any} */ one) => ({ text: `${word.field}:${quoted(one.value)} `, note: String(one.count) }));
  /** @param {string} offer */
  const take = (offer) => {
    const whole = text.slice(0, word.begin) + offer + text.slice(at).replace(/^\S*\s?/, "");
    setText(whole);
    setAt(word.begin + offer.length);
    setPicked(-1);
    box.current.focus();
    requestAnimationFrame(() => box.current.setSelectionRange(word.begin + offer.length, word.begin + offer.length));
  };
  /** @param {KeyboardEvent} event */
  const onKey = (event) => {
    if (event.key === "Enter") {
      event.preventDefault();
      if (open && picked >= 0) take(offers[picked].text);
      else {
        setOpen(false);
        onSearch(text.trim());
      }
    } else if (event.key === "Tab" && open && offers.length && (picked >= 0 || word.field || word.value)) {
      event.preventDefault();
      take(offers[Math.max(0, picked)].text);
    } else if (event.key === "ArrowDown" && offers.length) {
      event.preventDefault();
      setOpen(true);
      setPicked((picked + 1) % offers.length);
    } else if (event.key === "ArrowUp" && offers.length) {
      event.preventDefault();
      setPicked((picked + offers.length - 1) % offers.length);
    } else if (event.key === "Escape") {
      if (open) setOpen(false);
      else box.current.blur();
    }
  };
  const wrong = error?.problem?.errors?.find((/** @type {any} */ one) => one.parameter === "q");
  const shown = open && offers.length > 0;
  return html`
    <form class="search" role="search" onSubmit=${(/** @type {Event} */ event) => {
      event.preventDefault();
      onSearch(text.trim());
    }}>
      <input ref=${box} type="text" role="combobox" aria-label="Search runs" aria-expanded=${shown} aria-controls="offers" aria-autocomplete="list"
        aria-activedescendant=${picked >= 0 ? `offer-${picked}` : undefined} aria-invalid=${wrong ? "true" : undefined} spellcheck="false" autocomplete="off"
        placeholder='model:gpt-4o* status:failed cost>0.05 warn:exact_repeat "exact words"' value=${text}
        onInput=${(/** @type {any} */ event) => {
          setText(event.target.value);
          setAt(event.target.selectionStart);
          setOpen(true);
          setPicked(-1);
        }}
        onFocus=${() => setOpen(true)} onBlur=${() => setOpen(false)} onKeyDown=${onKey}
        onClick=${(/** @type {any} */ event) => setAt(event.target.selectionStart)} />
      ${value && html`<button type="button" class="quiet" onClick=${() => onSearch("")}>Clear</button>`}
      <ul class="offers" id="offers" role="listbox" aria-label="Completions" hidden=${!shown}>
        ${shown && offers.map((offer, index) => html`
          <li id=${`offer-${index}`} role="option" aria-selected=${index === picked} onMouseDown=${(/** @type {Event} */ event) => {
            event.preventDefault();
            take(offer.text);
          }}><code>${offer.text}</code> <span class="dim">${offer.note}</span></li>`)}
      </ul>
      ${wrong && html`<p class="wrong" role="alert">${wrong.at !== undefined && html`<code>${value.slice(0, wrong.at)}<mark>${value.slice(wrong.at) || " "}</mark></code> `}${wrong.detail}</p>`}
    </form>
  `;
}
