// Settings of JupyterHub's page of users, from the data that admin.html carries.
{
  const settings = document.getElementById("react-admin-hook").dataset;
  window.api_page_limit = Number.parseInt(settings.pageLimit, 10);
  window.base_url = settings.baseUrl;
}
