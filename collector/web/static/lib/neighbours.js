// @ts-check
/** The runs of the list that was last looked at, so that one can go from one to the next. */

const KEPT = "eddyline.list";

/** @param {string[]} ids */
export const remember = (ids) => sessionStorage.setItem(KEPT, ids.join(" "));

/** The run that stands so many places below this one; undefined at the end of the list. @param {string} id @param {number} by */
export function beside(id, by) {
  const ids = (sessionStorage.getItem(KEPT) ?? "").split(" ");
  const at = ids.indexOf(id);
  return at < 0 ? undefined : ids[at + by];
}
