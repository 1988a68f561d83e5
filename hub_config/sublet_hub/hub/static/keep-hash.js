// Where the user wanted to go, after the #, is kept over the start of the server.
{
  const start = document.getElementById("start");
  if (start && window.location.hash) start.href += window.location.hash;
}
