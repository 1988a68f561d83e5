// Shows moments in the reader's own time zone, as the api's pages do; without this script they stand there in UTC.
{
  const day = new Intl.DateTimeFormat("en-CA");
  const soon = new Intl.DateTimeFormat("en-GB", { weekday: "short", hour: "2-digit", minute: "2-digit" });
  const far = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
  const today = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
  const week = 6 * 24 * 3600 * 1000;

  const words = (moment) => {
    const now = new Date();
    if (day.format(moment) === day.format(now)) return `today at ${today.format(moment)}`;
    return (Math.abs(moment - now) < week ? soon : far).format(moment);
  };
  const localize = (root) => {
    for (const element of root.querySelectorAll("time[data-local]")) {
      const moment = new Date(element.dateTime);
      if (Number.isNaN(moment.getTime())) continue;
      element.title = element.textContent;
      element.textContent = words(moment);
      delete element.dataset.local;
    }
  };
  window.subletLocalizeTimes = localize;
  localize(document);
}
