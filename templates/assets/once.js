// A double click sends a form once. Pages work without it.
(() => {
  "use strict";
  document.querySelectorAll("form").forEach((form) => {
    let sent = 0;
    form.addEventListener("submit", (event) => {
      if (event.defaultPrevented) return;
      if (Date.now() - sent < 5000) event.preventDefault();
      else sent = Date.now();
    });
  });
  // Coming back with the Back button finds the form ready again.
  addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
})();
