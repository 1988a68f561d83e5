// The audit record: who did what to whom, what changed, and why.

import { fill, h } from "./dom.js";
import { duration, moment, momentText } from "./format.js";
import { cell, empty, table } from "./parts.js";

const COLUMNS = [{ name: "When" }, { name: "Who" }, { name: "What" }, { name: "Whom" }, { name: "Change" }, { name: "Why" }];

const ACTIONS = {
  "quota.set": "set the quota",
  "quota.deleted": "deleted the quota",
  "lease.granted": "granted a lease",
  "lease.refused": "refused a lease",
  "lease.started": "lease began",
  "lease.stopped": "ordered a stop",
  "lease.kept": "took a stop back",
  "lease.ended": "lease ended",
  "lease.void": "lease never began",
  "notice.written": "wrote a notice",
  "notice.withdrawn": "withdrew a notice",
};

/** Show a page of records, newest first. */
export function showAudit(container, records, pages, reload) {
  if (records.length === 0) {
    fill(container, empty("There are no such records."));
    return;
  }
  fill(container, h("div", { class: "card table-card" },
    h("div", { class: "scroll" }, table("Audit records, newest first", COLUMNS, records.map(row))), pages.controls(reload)));
}

function row(record) {
  return h("tr", {},
    cell("When", {}, moment(record.at)),
    cell("Who", {}, record.actor),
    cell("What", {}, h("span", { title: `${record.action}, record ${record.number}` }, ACTIONS[record.action] ?? record.action)),
    cell("Whom", {}, record.subject),
    cell("Change", { whole: true }, h("span", { class: "change" }, change(record))),
    record.reason ? cell("Why", { whole: true }, record.reason) : cell("Why"));
}

/** What is different, member by member; what stayed the same is left out. */
function change({ before, after }) {
  const [old, now] = [flat(before), flat(after)];
  const names = [...new Set([...Object.keys(old), ...Object.keys(now)])].filter((name) => old[name] !== now[name]);
  if (names.length === 0) return "—";
  return names.flatMap((name, i) => [
    i > 0 && ", ",
    `${name} `,
    name in old && h("del", {}, old[name]),
    name in old && name in now && " → ",
    name in now && h("ins", {}, now[name]),
  ]);
}

function flat(value) {
  if (value === null || value === undefined) return {};
  if (typeof value !== "object") return { value: String(value) };
  const members = {};
  for (const [name, item] of Object.entries(value)) {
    if (name === "limits" && Array.isArray(item)) {
      for (const limit of item) members[limitKey(limit)] = String(limit.limit);
    } else if (name.endsWith("_at_ms") && typeof item === "number") {
      members[name.slice(0, -6)] = momentText(new Date(item));
    } else if (name.endsWith("_seconds") && typeof item === "number") {
      members[name.slice(0, -8)] = duration(item);
    } else if (item !== null) members[name] = typeof item === "object" ? JSON.stringify(item) : String(item);
  }
  return members;
}

function limitKey({ what, window, flavor }) {
  return [what, window && `/${window}`, flavor && `@${flavor}`].filter(Boolean).join("");
}
