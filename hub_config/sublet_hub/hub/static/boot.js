// What JupyterHub's scripts expect of a page, from the data that page.html carries.
{
  const data = JSON.parse(document.getElementById("hub-data").textContent);
  const { scripts, version_hash: version, ...forScripts } = data;
  window.jhdata = forScripts;
  window.require.config({
    ...(version ? { urlArgs: `v=${version}` } : {}),
    baseUrl: scripts,
    paths: {
      components: "../components",
      jquery: "../components/jquery/dist/jquery.min",
      "js-sha256": "../components/js-sha256/build/sha256.min",
      moment: "../components/moment/moment",
    },
  });
}
