// Asks the server every few seconds whether the page has changed, and puts what is new in its place.
"use strict";

(function () {
  const PAUSE_MS = 2000;
  let known = document.body.dataset.version;  // of the page itself: what came since is news already

  function address() {
    const url = new URL(window.location.href);
    url.searchParams.set("version", "");
    url.hash = "";
    return url;
  }

  // What a reader has unfolded, scrolled and begun to write stays when the page is renewed; so does a chart that is the
  // same, with what was zoomed into.
  function places() {
    const regions = Array.from(document.querySelectorAll("main .wide[aria-label], main pre"));
    const focused = document.activeElement && document.activeElement.matches(".tools input")
      ? document.activeElement.closest("section").id : null;
    return {
      open: new Map(Array.from(document.querySelectorAll("main details")).map((each) => [named(each), each.open])),
      regions: regions.map((each) => [each.scrollLeft, each.scrollTop]),
      window: [window.scrollX, window.scrollY],
      focused,
    };
  }

  function named(part) {
    const section = part.closest("section[id]");
    return `${section ? section.id : ""}/${part.id || part.querySelector("summary").textContent.replace(/\d+/g, "")}`;
  }

  function restore(kept) {
    for (const part of document.querySelectorAll("main details")) {
      const open = kept.open.get(named(part));
      if (open !== undefined) part.open = open;
    }
    const regions = document.querySelectorAll("main .wide[aria-label], main pre");
    if (regions.length === kept.regions.length) {
      regions.forEach((each, at) => each.scrollTo(...kept.regions[at]));
    }
    const input = kept.focused && document.querySelector(`#${CSS.escape(kept.focused)} .tools input`);
    if (input) input.focus({ preventScroll: true });
    window.scrollTo(...kept.window);
  }

  function keepCharts(fresh) {
    for (const section of fresh.querySelectorAll("section.chart[id]")) {
      const known = document.getElementById(section.id);
      const data = (each) => each.querySelector("script.figure-data").textContent;
      if (known && known.dataset.drawn && data(known) === data(section)) section.replaceWith(known);
    }
  }

  // A page that is not renewed any more says so: it would pass for how things stand.
  function say(text) {
    const line = document.getElementById("left");
    line.hidden = !text;
    if (line.textContent !== text) line.textContent = text;
  }

  async function renew() {
    const answer = await fetch(window.location.href.split("#")[0], { cache: "no-store" });
    if (!answer.ok) {
      say(answer.status === 404 ? "What this page is of is no longer there: it stays as it was."
                                : `The server cannot make this page anew (status ${answer.status}): it stays as it was.`);
      return;
    }
    say("");
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    const kept = places();
    keepCharts(fresh);
    const main = document.getElementById("main");
    main.replaceChildren(...fresh.getElementById("main").childNodes);
    document.title = fresh.title;
    window.airaCharts.drawNew();
    document.dispatchEvent(new CustomEvent("aira:renewed"));
    restore(kept);
    known = fresh.body.dataset.version;
  }

  async function ask() {
    try {
      if (!document.hidden) {
        const answer = await fetch(address(), { cache: "no-store" });
        if (answer.ok) {
          const version = await answer.text();
          if (known !== version) await renew(); else say("");
          document.body.dataset.state = "followed";
        }
      }
    } catch (error) {
      document.body.dataset.state = "left";
      say("The server does not answer: this page stays as it was.");
    }
    setTimeout(ask, PAUSE_MS);
  }

  document.addEventListener("DOMContentLoaded", ask);
})();
