// What is wrong with the page as it is shown now, as sentences. It runs in the page; its findings fail a test.
// Sources: WCAG 2.2, 1.3.1, 1.4.3, 2.4.2, 2.4.6, 2.5.8, 3.1.1, 4.1.2.
() => {
  const findings = [];
  const name = (element) => `<${element.tagName.toLowerCase()}${element.id ? ` #${element.id}` : ""} ${element.className}> ${element.textContent.trim().slice(0, 40)}`;
  const shown = (element) => element.checkVisibility({ visibilityProperty: true, opacityProperty: true })
    && element.getClientRects().length > 0 && !element.closest(".visually-hidden, .skip, .skip-link");
  // An open dialog makes all else inert.
  const scope = document.querySelector("dialog[open]") ?? document.body;

  // ---- the frame of the page
  if (!document.documentElement.lang) findings.push("the page has no language");
  if (!document.title.endsWith("Sublet")) findings.push(`the title is ${document.title}`);
  if (document.querySelectorAll("main").length !== 1) findings.push("there is not one <main>");
  const headings = [...document.querySelectorAll("main :is(h1, h2, h3, h4)")].filter(shown);
  const levels = headings.map((heading) => Number(heading.tagName[1]));
  if (levels.filter((level) => level === 1).length !== 1 || levels[0] !== 1) findings.push(`headings: ${levels}`);
  levels.forEach((level, i) => {
    if (i > 0 && level > levels[i - 1] + 1) findings.push(`${name(headings[i])} skips a level`);
  });
  const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
  for (const id of new Set(ids.filter((each, i) => !each || ids.indexOf(each) !== i))) findings.push(`the id '${id}' stands twice, or is empty`);
  for (const element of document.querySelectorAll("[aria-describedby], [aria-labelledby]")) {
    const named = `${element.getAttribute("aria-describedby") ?? ""} ${element.getAttribute("aria-labelledby") ?? ""}`;
    for (const id of named.split(/\s+/).filter(Boolean)) {
      if (!document.getElementById(id)) findings.push(`${name(element)} names ${id}, which is not there`);
    }
  }

  // ---- nothing that the policy would not let run
  const inline = document.querySelectorAll("script:not([src], [type='application/json']), style");
  for (const element of inline) findings.push(`${name(element)} stands in the page`);
  for (const element of document.querySelectorAll("*")) {
    for (const { name: attribute } of element.attributes) {
      if (attribute.startsWith("on")) findings.push(`${name(element)} has ${attribute}`);
    }
  }

  // ---- controls: a name, and room for a finger
  for (const control of scope.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary")) {
    if (!shown(control)) continue;
    const label = control.labels?.length || control.getAttribute("aria-label") || control.getAttribute("aria-labelledby") || control.textContent.trim();
    if (!label) findings.push(`${name(control)} has no name`);
    const target = control.closest("label") ?? control;
    const { width, height } = target.getBoundingClientRect();
    const inText = getComputedStyle(control).display === "inline";
    if (!inText && (width < 24 || height < 24)) findings.push(`${name(control)} is ${Math.round(width)} by ${Math.round(height)}`);
  }

  // ---- contrast of text on what lies beneath it
  const parse = (text) => {
    const [r, g, b, a = 1] = text.match(/[\d.]+/g).map(Number);
    return { r, g, b, a };
  };
  const over = (top, below) => Object.fromEntries([..."rgb"].map((each) => [each, top[each] * top.a + below[each] * (1 - top.a)]).concat([["a", 1]]));
  const ground = (element) => {
    const layers = [];
    for (let each = element; each; each = each.parentElement) {
      layers.unshift(parse(getComputedStyle(each).backgroundColor));
    }
    return layers.reduce((below, top) => over(top, below), { r: 255, g: 255, b: 255, a: 1 });
  };
  const light = ({ r, g, b }) => [r, g, b]
    .map((value) => value / 255)
    .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
    .reduce((sum, value, i) => sum + value * [0.2126, 0.7152, 0.0722][i], 0);
  const texts = document.createTreeWalker(scope, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    if (!texts.currentNode.textContent.trim() || !shown(element) || element.closest("svg, :disabled, option")) continue;
    const style = getComputedStyle(element);
    const below = ground(element);
    const [low, high] = [light(below), light(over(parse(style.color), below))].sort((a, b) => a - b);
    const ratio = (high + 0.05) / (low + 0.05);
    const size = Number.parseFloat(style.fontSize);
    const isLarge = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if (ratio < (isLarge ? 3 : 4.5)) findings.push(`${name(element)} has a contrast of ${ratio.toFixed(2)}`);
  }
  return [...new Set(findings)];
}
