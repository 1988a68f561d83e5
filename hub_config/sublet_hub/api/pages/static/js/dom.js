// Elements without a framework. Text always goes in as text, so nothing that comes from the API can be markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element: `h("p", {class: "x", onclick: f}, "text", child, null)`. Null and false children are left out. */
export function h(tag, props = {}, ...children) {
  return build(document.createElement(tag), props, children);
}

/** The same in SVG. */
export function svg(tag, props = {}, ...children) {
  return build(document.createElementNS(SVG, tag), props, children);
}

function build(element, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...shown(children));
  return element;
}

/** Put these children, and only these, into an element. */
export function fill(element, ...children) {
  element.replaceChildren(...shown(children));
  return element;
}

function shown(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
}

/** Set an element's text, touching the document only where it differs. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * Make a container show one element per item, keeping the elements of items that are still there, so that focus
 * and open menus survive an update. `create(item)` gives an element with a method `update(item)`.
 */
export function reconcile(container, items, key, create) {
  const kept = new Map([...container.children].map((child) => [child.dataset.key, child]));
  const wanted = items.map((item) => {
    const id = String(key(item));
    const element = kept.get(id) ?? create(item);
    element.dataset.key = id;
    element.update?.(item);
    return element;
  });
  const same = wanted.length === container.children.length && wanted.every((each, i) => container.children[i] === each);
  if (same) return;
  for (const child of [...container.children]) if (!wanted.includes(child)) child.remove();
  wanted.forEach((element, i) => {
    if (container.children[i] !== element) container.insertBefore(element, container.children[i] ?? null);
  });
}

let lastId = 0;

/** An id that is unique in this document, to tie labels and messages to controls. */
export function uniqueId(prefix) {
  lastId += 1;
  return `${prefix}-${lastId}`;
}
