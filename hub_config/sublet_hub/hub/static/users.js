// Settings of JupyterHub's page of users, from the data that admin.html carries, and names for its buttons of arrows.
{
  const settings = document.getElementById("react-admin-hook").dataset;
  window.api_page_limit = Number.parseInt(settings.pageLimit, 10);
  window.base_url = settings.baseUrl;
}
new MutationObserver(() => {
  for (const button of document.querySelectorAll('button[aria-controls$="-collapse"]:not([aria-label])')) {
    button.setAttribute("aria-label", `Details of ${button.getAttribute("aria-controls").replace(/-collapse$/, "")}`);
  }
}).observe(document.getElementById("react-admin-hook"), { childList: true, subtree: true });
