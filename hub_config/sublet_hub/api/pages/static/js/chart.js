// GPU-hours by day as a bar chart: one tab stop, arrow keys from day to day, and the same as a table.

import { fill, h, svg } from "./dom.js";
import { dayText, gpuTime, money, number } from "./format.js";

const [LEFT, RIGHT, TOP, BOTTOM, HEIGHT] = [40, 4, 14, 24, 208];

const drawn = new WeakMap();

/** Show an account's usage. What is there is left alone where nothing changed: somebody may be reading it. */
export function showUsage(container, usage) {
  const content = JSON.stringify(usage);
  if (drawn.get(container) === content) return;
  drawn.set(container, content);
  const unfolded = container.querySelector("details")?.open ?? false;
  const total = h("div", { class: "totals" },
    figure(gpuTime(usage.gpu_seconds), `in the last ${usage.days.length} days`),
    figure(money(usage.cost_microunits, usage.currency), "cost, with calls of models"));
  if (usage.gpu_seconds === 0 && usage.cost_microunits === 0) {
    fill(container, total, h("p", { class: "soft" }, `Nothing was used in the last ${usage.days.length} days.`));
    return;
  }
  const plot = h("div", { class: "chart" });
  fill(container, total, plot, asTable(usage, unfolded));
  draw(plot, usage);
  let width = plot.clientWidth;
  new ResizeObserver(() => {
    if (Math.abs(plot.clientWidth - width) < 2) return;
    width = plot.clientWidth;
    draw(plot, usage);
  }).observe(plot);
}

function figure(big, label) {
  return h("div", {}, h("div", { class: "big" }, big), h("div", { class: "label" }, label));
}

function draw(plot, usage) {
  const width = Math.max(plot.clientWidth, 240);
  const hours = usage.days.map((day) => day.gpu_seconds / 3600);
  const { top, ticks } = scale(Math.max(...hours));
  const y = (value) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / top);
  const step = (width - LEFT - RIGHT) / usage.days.length;
  const tip = h("div", { class: "tip", hidden: true });
  const rules = ticks.map((value) => [
    svg("line", { class: "rule", x1: LEFT, x2: width - RIGHT, y1: Math.round(y(value)), y2: Math.round(y(value)) }),
    svg("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, number(value, 2)),
  ]);
  const every = Math.max(1, Math.ceil(62 / step));
  const bars = usage.days.map((day, i) => {
    const x = LEFT + i * step;
    const base = y(0);
    const wide = Math.max(2, Math.min(step * 0.7, 26));
    const high = hours[i] > 0 ? Math.max(2, base - y(hours[i])) : 0;
    const fromEnd = usage.days.length - 1 - i;
    return svg("g", {
      class: "day", role: "img", tabindex: fromEnd === 0 ? "0" : "-1",
      "aria-label": `${dayText(day.date, true)}: ${gpuTime(day.gpu_seconds)}, ${money(day.cost_microunits, usage.currency)}`,
    },
    svg("rect", { class: "hit", x, y: TOP, width: step, height: base - TOP }),
    high > 0 && svg("rect", { class: "day-bar", x: x + (step - wide) / 2, y: base - high, width: wide, height: high, rx: Math.min(3, wide / 4) }),
    fromEnd % every === 0 && svg("text", { x: x + step / 2, y: HEIGHT - 6, "text-anchor": fromEnd === 0 ? "end" : "middle", dx: fromEnd === 0 ? step / 2 : 0 }, dayText(day.date)));
  });
  const unit = svg("text", { x: 0, y: 4, "text-anchor": "start" }, "GPU-hours");
  const picture = svg("svg", {
    viewBox: `0 0 ${width} ${HEIGHT}`, role: "group", "aria-label": "GPU-hours by day; arrow keys go from day to day",
  }, unit, rules, bars);
  fill(plot, picture, tip);

  const point = (i) => {
    fill(tip, h("b", {}, gpuTime(usage.days[i].gpu_seconds)), `${dayText(usage.days[i].date, true)} · ${money(usage.days[i].cost_microunits, usage.currency)}`);
    tip.hidden = false;
    const middle = LEFT + (i + 0.5) * step;
    const half = tip.offsetWidth / 2;
    tip.style.left = `${Math.min(Math.max(middle, half), width - half)}px`;
    tip.style.top = `${Math.max(-30, y(hours[i]) - 52)}px`;
  };
  const hide = () => { tip.hidden = true; };
  bars.forEach((element, i) => {
    element.addEventListener("pointerenter", () => point(i));
    element.addEventListener("pointerleave", hide);
    element.addEventListener("focus", () => point(i));
    element.addEventListener("blur", hide);
    element.addEventListener("keydown", (event) => {
      const to = { ArrowLeft: i - 1, ArrowRight: i + 1, Home: 0, End: bars.length - 1 }[event.key];
      if (event.key === "Escape") hide();
      if (to === undefined || !bars[to]) return;
      event.preventDefault();
      element.setAttribute("tabindex", "-1");
      bars[to].setAttribute("tabindex", "0");
      bars[to].focus();
    });
  });
}

/** A round top of the axis, and two to four round values to draw lines at. */
function scale(most) {
  const rough = Math.max(most, 0.01) / 3;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((each) => each >= rough);
  const count = Math.max(1, Math.ceil(most / step - 1e-9));
  return { top: count * step, ticks: Array.from({ length: count + 1 }, (_, i) => i * step) };
}

function asTable(usage, unfolded) {
  const rows = [...usage.days].reverse().filter((day) => day.gpu_seconds > 0 || day.cost_microunits > 0).map((day) => h("tr", {},
    h("th", { scope: "row" }, dayText(day.date, true)),
    h("td", { class: "number" }, gpuTime(day.gpu_seconds)),
    h("td", { class: "number" }, money(day.cost_microunits, usage.currency))));
  return h("details", { open: unfolded }, h("summary", {}, "As a table"),
    h("div", { class: "scroll" }, h("table", {},
      h("caption", { class: "visually-hidden" }, `Use of ${usage.account} by day; days begin in the time zone ${usage.time_zone}`),
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, `Day (${usage.time_zone})`), h("th", { scope: "col", class: "number" }, "GPU time"), h("th", { scope: "col", class: "number" }, "Cost"))),
      h("tbody", {}, rows))));
}
