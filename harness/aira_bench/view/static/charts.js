// Draws the charts of a page from the blocks of data beside them. A click on a mark opens the page it names.
"use strict";

(function () {
  const NARROW_PX = 600;
  const LEGEND_LINE_PX = 19;

  function colours() {
    const style = getComputedStyle(document.documentElement);
    const value = (name) => style.getPropertyValue(name).trim();
    return { text: value("--text"), ground: value("--ground"), grid: value("--grid") };
  }

  function themed(layout) {
    const { text, ground, grid } = colours();
    const made = Object.assign(
      { margin: { t: 20, r: 20, b: 50, l: 60 }, showlegend: true, legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" }, dragmode: "pan" },
      layout,
      { paper_bgcolor: ground, plot_bgcolor: ground, font: { color: text, size: 13 } },
    );
    for (const name of Object.keys(made).filter((key) => /^[xy]axis\d*$/.test(key))) {
      made[name] = Object.assign({ gridcolor: grid, zerolinecolor: grid, linecolor: text }, made[name]);
    }
    return made;
  }

  // On a phone a legend has a line for each entry, which would leave no room for what it is of; and letters in cells
  // would lie upon each other.
  function fit(figure) {
    const entries = figure.data.filter((each) => /^(scatter|bar)$/.test(each.type) && each.showlegend !== false
                                                 && each.visible !== false);
    figure.layout.height += LEGEND_LINE_PX * entries.length;
    for (const each of figure.data) delete each.texttemplate;
  }

  function opened(event) {
    const address = event.points[0] && event.points[0].customdata;
    // Only pages beside this one: what a mark names is made by us, and is held to that here once more.
    if (typeof address === "string" && /^(\.\.\/|[A-Za-z0-9._-]+\/)*[A-Za-z0-9._-]+\.html$/.test(address)) {
      window.location.assign(address);
    }
  }

  function draw(section) {
    const place = section.querySelector(".figure");
    const data = section.querySelector("script.figure-data");
    if (!place || !data || typeof Plotly === "undefined") return;
    const figure = JSON.parse(data.textContent);
    if (place.clientWidth < NARROW_PX) fit(figure);
    const options = { responsive: true, displaylogo: false, scrollZoom: false,
                      toImageButtonOptions: { format: "svg", filename: section.id } };
    Plotly.newPlot(place, figure.data, themed(figure.layout), options).then(() => {
      place.on("plotly_click", opened);
      section.dataset.drawn = "yes";
    });
  }

  // What lies in a part that is closed is drawn when that is opened: a suite has many charts.
  function drawAll() {
    document.querySelectorAll("section.chart").forEach((section) => {
      if (!section.closest("details:not([open])")) draw(section);
    });
  }

  function drawOpened(event) {
    if (event.target.open) {
      event.target.querySelectorAll("section.chart:not([data-drawn])").forEach((section) => {
        if (!section.closest("details:not([open])")) draw(section);
      });
    }
  }

  function drawNew() {
    document.querySelectorAll("section.chart:not([data-drawn])").forEach(draw);
  }

  window.airaCharts = { drawNew };
  document.addEventListener("DOMContentLoaded", drawAll);
  document.addEventListener("toggle", drawOpened, true);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
})();
