// Refreshes the texts that carry data-seconds and marks the buttons that have to wait. Pages work
// without it: the server enforces every limit. The words come from the page, the units from Intl.
(() => {
  "use strict";
  const announcer = document.querySelector("[data-announce]");
  const buttons = document.querySelectorAll("button[data-waits]");

  const units = (count, unit) => new Intl.NumberFormat(document.documentElement.lang,
    { style: "unit", unit, unitDisplay: "long" }).format(count);
  const words = (seconds) => seconds <= 90 ? units(seconds, "second")
    : seconds <= 5400 ? units(Math.round(seconds / 60), "minute")
    : units(Math.round(seconds / 3600), "hour");

  document.querySelectorAll("[data-seconds]").forEach((text) => {
    const { seconds, wording, done } = text.dataset;
    const end = Date.now() + seconds * 1000;
    const waiting = [...buttons].filter(() => document.getElementById("wait").contains(text));
    const refresh = () => {
      const left = Math.ceil((end - Date.now()) / 1000);
      const now = left > 0 ? wording.replace("{duration}", words(left)) : done;
      if (text.textContent !== now) text.textContent = now;
      waiting.forEach((button) => button.setAttribute("aria-disabled", left > 0));
      if (left > 0) return true;
      announcer.textContent = done; // the only thing said aloud unasked
      return false;
    };
    refresh();
    const timer = setInterval(() => refresh() || clearInterval(timer), 1000);
    waiting.forEach((button) => button.form.addEventListener("submit", (event) => {
      if (button.getAttribute("aria-disabled") !== "true") return;
      event.preventDefault();
      announcer.textContent = text.textContent;
    }));
  });
})();
