// A page that failed after redirects can be reloaded without counting them again.
{
  const url = new URL(window.location.href);
  if (url.searchParams.has("redirects")) {
    url.searchParams.delete("redirects");
    window.history.replaceState({}, "", url);
  }
}
