// Shows moments in the reader's own time zone. Pages work without it: they then name the server's.
(() => {
  "use strict";
  const clock = new Intl.DateTimeFormat(document.documentElement.lang, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  document.querySelectorAll("[data-at]").forEach((text) => {
    text.textContent = text.dataset.wording.replace("{time}", clock.format(new Date(text.dataset.at)));
  });
})();
