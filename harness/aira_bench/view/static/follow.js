// Asks the server every few seconds whether the page has changed, and puts what is new in its place.
"use strict";

(function () {
  const PAUSE_MS = 2000;
  let known = null;

  function address() {
    const url = new URL(window.location.href);
    url.searchParams.set("version", "");
    url.hash = "";
    return url;
  }

  function openParts() {
    return Array.from(document.querySelectorAll("main details[open][id]")).map((each) => each.id);
  }

  async function renew() {
    const answer = await fetch(window.location.href.split("#")[0], { cache: "no-store" });
    if (!answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    const open = openParts();
    const main = document.getElementById("main");
    main.replaceChildren(...fresh.getElementById("main").childNodes);
    for (const id of open) {
      const part = document.getElementById(id);
      if (part) part.open = true;
    }
    document.title = fresh.title;
    window.airaCharts.drawAll();
    document.dispatchEvent(new CustomEvent("aira:renewed"));
  }

  async function ask() {
    try {
      if (!document.hidden) {
        const answer = await fetch(address(), { cache: "no-store" });
        if (answer.ok) {
          const version = await answer.text();
          if (known !== null && known !== version) await renew();
          known = version;
          document.body.dataset.state = "followed";
        }
      }
    } catch (error) {
      document.body.dataset.state = "left";  // the server has ended: the page stays as it is
    }
    setTimeout(ask, PAUSE_MS);
  }

  document.addEventListener("DOMContentLoaded", ask);
})();
