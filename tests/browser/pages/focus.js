// What has the focus after a press of Tab; null where it has left the page. It runs in the page.
// Sources: WCAG 2.2, 2.4.7 (focus visible), 2.4.11 (focus not obscured).
() => {
  const it = document.activeElement;
  if (!it || it === document.body) return null;
  const again = "seen" in it.dataset;
  it.dataset.seen = "";
  const holder = it.closest(".tier, .segment") ?? it; // these show the focus of the radio button within
  const day = it.closest(".chart .day");
  const isMarked = [it, holder].map((each) => getComputedStyle(each)).some(({ boxShadow, outlineStyle, outlineColor }) =>
    boxShadow !== "none" || (outlineStyle !== "none" && !/^rgba.*, 0\)$/.test(outlineColor)))
    || Boolean(day && getComputedStyle(day.querySelector(".hit")).strokeWidth === "2px");
  const box = (day?.querySelector(".hit") ?? it.closest("label") ?? it).getBoundingClientRect();
  const atop = document.elementFromPoint(box.left + box.width / 2, box.top + Math.min(box.height / 2, innerHeight / 4));
  const isCovered = !atop || !(it.contains(atop) || atop.contains(it) || holder.contains(atop));
  const what = `<${it.tagName.toLowerCase()} ${it.getAttribute("class")}> ${it.textContent.trim().slice(0, 30)}`;
  return { what, again, isMarked, isCovered };
}
