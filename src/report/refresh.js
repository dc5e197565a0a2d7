(function () {
  "use strict";
  var note = document.getElementById("freshness");
  function show(text) { if (note) { note.textContent = text; } }
  function refresh() {
    fetch(location.pathname, { cache: "no-store" }).then(function (answer) {
      if (!answer.ok) { throw new Error(String(answer.status)); }
      return answer.text();
    }).then(function (text) {
      var next = new DOMParser().parseFromString(text, "text/html").querySelector("main");
      var main = document.querySelector("main");
      if (next && main) { main.replaceWith(document.importNode(next, true)); }
      note = document.getElementById("freshness");
    }).catch(function () {
      show("The service does not answer: what stands here is of the time given above.");
    });
  }
  setInterval(function () { if (!document.hidden) { refresh(); } }, 15000);
})();
