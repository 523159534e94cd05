// What pages do beyond plain HTML: say whether they are live, keep "3 min ago" true.
// No page needs this file for reading or for acting.
(function () {
  "use strict";
  const live = document.getElementById("live");

  function show(on) {
    if (!live) return;
    live.hidden = false;
    live.textContent = on ? live.dataset.on : live.dataset.off;
    live.classList.toggle("on", on);
  }

  document.addEventListener("htmx:sseOpen", () => show(true));
  document.addEventListener("htmx:sseError", () => show(false));
  document.addEventListener("htmx:sseClose", () => show(false));

  // A fragment must not close what a person has open or is typing into.
  document.addEventListener("htmx:beforeSwap", (event) => {
    const target = event.detail.target;
    if (!target || !target.hasAttribute("data-live")) return;
    const busy = target.contains(document.activeElement) && document.activeElement.matches("input, select, textarea");
    if (busy || target.querySelector("details.sure[open], input:checked")) event.detail.shouldSwap = false;
  });

  const language = document.documentElement.lang || "en";
  const relative = new Intl.RelativeTimeFormat(language, { numeric: "always", style: "short" });
  const units = [[90, 1, "second"], [5400, 60, "minute"], [129600, 3600, "hour"], [Infinity, 86400, "day"]];

  function refresh() {
    for (const element of document.querySelectorAll("time[title]")) {
      const seconds = Math.max(0, (Date.now() - Date.parse(element.dateTime)) / 1000);
      const [, unit, name] = units.find(([limit]) => seconds < limit);
      element.textContent = relative.format(-Math.round(seconds / unit), name);
    }
  }
  setInterval(refresh, 5000);
})();
