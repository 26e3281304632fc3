"use strict";
// Everything on the page is there without this script; it adds sorting, the switch of themes, sections that open when
// a link leads into them, and the numbers and the highlight of the arm that the reader points at or has pinned.
(function () {
  var status = document.getElementById("sorted");

  function keyOf(row, column) {
    var cell = row.cells[column], key = cell.getAttribute("data-sort");
    return key === null ? cell.textContent : key;
  }

  function compare(one, other) {
    var a = Number(one), b = Number(other);
    if (one !== "" && other !== "" && !isNaN(a) && !isNaN(b)) { return a - b; }
    return one.localeCompare(other, "en", { numeric: true });
  }

  function sort(table, column, name) {
    var head = table.tHead.rows[0].cells, body = table.tBodies[0];
    var falling = head[column].getAttribute("aria-sort") === "ascending";
    var rows = Array.prototype.slice.call(body.rows);
    rows.sort(function (x, y) {
      var a = keyOf(x, column), b = keyOf(y, column);
      // Missing values stay at the end in both directions.
      if (a === "" || b === "") { return (a === "") - (b === ""); }
      return falling ? compare(b, a) : compare(a, b);
    });
    Array.prototype.forEach.call(head, function (cell) { cell.removeAttribute("aria-sort"); });
    head[column].setAttribute("aria-sort", falling ? "descending" : "ascending");
    rows.forEach(function (row) { body.appendChild(row); });
    status.textContent = "Sorted by " + name + ", " + (falling ? "descending" : "ascending") + ".";
  }

  document.querySelectorAll("table.sortable").forEach(function (table) {
    Array.prototype.forEach.call(table.tHead.rows[0].cells, function (cell, column) {
      var button = document.createElement("button"), name = cell.textContent.trim();
      button.type = "button";
      button.textContent = name;
      button.addEventListener("click", function () { sort(table, column, name); });
      cell.textContent = "";
      cell.appendChild(button);
    });
  });

  var root = document.documentElement, toggle = document.getElementById("theme");
  var dark = window.matchMedia("(prefers-color-scheme: dark)").matches;

  function label() {
    toggle.textContent = dark ? "Light theme" : "Dark theme";
  }

  toggle.hidden = false;
  label();
  toggle.addEventListener("click", function () {
    dark = !dark;
    root.setAttribute("data-theme", dark ? "dark" : "light");
    label();
  });

  var sections = Array.prototype.slice.call(document.querySelectorAll("details.section, details.fold"));
  var unfold = document.getElementById("unfold");

  function openTarget() {
    var target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) { return; }
    var inside = target.querySelector("details.section");
    for (var e = inside || target; e; e = e.parentElement) { if (e.tagName === "DETAILS") { e.open = true; } }
    target.scrollIntoView();
  }

  function labelUnfold() {
    unfold.textContent = sections.every(function (d) { return d.open; }) ? "Close all" : "Open all";
  }

  unfold.hidden = sections.length === 0;
  labelUnfold();
  unfold.addEventListener("click", function () {
    var open = !sections.every(function (d) { return d.open; });
    sections.forEach(function (d) { d.open = open; });
    labelUnfold();
  });
  sections.forEach(function (d) { d.addEventListener("toggle", labelUnfold); });
  window.addEventListener("hashchange", openTarget);
  document.querySelectorAll("nav a").forEach(function (a) {
    a.addEventListener("click", function () { if (a.hash === location.hash) { openTarget(); } });
  });
  openTarget();
  var closed = [];
  window.addEventListener("beforeprint", function () {
    closed = sections.filter(function (d) { return !d.open; });
    closed.forEach(function (d) { d.open = true; });
  });
  window.addEventListener("afterprint", function () { closed.forEach(function (d) { d.open = false; }); });

  var tip = document.getElementById("tip"), bar = document.getElementById("pinned");
  var pinned = "", shown = "", NEAR = 5;

  function highlight(key) {
    if (key === shown) { return; }
    document.querySelectorAll(".lit").forEach(function (e) { e.classList.remove("lit"); });
    document.querySelectorAll("svg.dimmed").forEach(function (e) { e.classList.remove("dimmed"); });
    shown = key;
    if (!key) { return; }
    document.querySelectorAll('[data-arm="' + key + '"]').forEach(function (e) {
      e.classList.add("lit");
      if (e.ownerSVGElement) { e.ownerSVGElement.classList.add("dimmed"); }
    });
  }

  function nameOf(key) {
    var named = document.querySelector('tr[data-name][data-arm="' + key + '"]');
    if (named) { return named.getAttribute("data-name"); }
    var row = document.querySelector('table.main tr[data-arm="' + key + '"] th, tr[data-arm="' + key + '"] th');
    return row ? row.textContent : "";
  }

  function pin(key) {
    pinned = key === pinned ? "" : key;
    highlight(pinned);
    bar.hidden = !pinned;
    bar.firstElementChild.textContent = pinned ? "Highlighted in every figure: " + nameOf(pinned) : "";
    status.textContent = pinned ? nameOf(pinned) + " is highlighted in every figure." : "Nothing is highlighted.";
    document.querySelectorAll(".arm").forEach(function (b) {
      b.setAttribute("aria-pressed", String(b.closest("tr").getAttribute("data-arm") === pinned));
    });
  }

  // A thin line is hard to hit: the nearest mark within a few pixels counts.
  function markAt(event) {
    var own = event.target.closest && event.target.closest("[data-tip], [data-arm]");
    if (own && own.ownerSVGElement && !own.hasAttribute("data-tip")) {
      // What lies below it may have the numbers.
      document.elementsFromPoint(event.clientX, event.clientY).some(function (e) {
        var below = e.closest("[data-tip]");
        if (below) { own = below; }
        return below;
      });
    }
    if (own || !(event.target.closest && event.target.closest("svg"))) { return own; }
    for (var r = 2; r <= NEAR; r += 1.5) {
      for (var turn = 0; turn < 8; turn += 1) {
        var x = event.clientX + r * Math.cos(turn * Math.PI / 4), y = event.clientY + r * Math.sin(turn * Math.PI / 4);
        var e = document.elementFromPoint(x, y), found = e && e.closest("[data-tip], [data-arm]");
        if (found) { return found; }
      }
    }
    return null;
  }

  function showTip(event, mark) {
    var key = mark && mark.getAttribute("data-arm"), text = mark && mark.getAttribute("data-tip");
    if (mark && !text && key && mark.ownerSVGElement) {
      var other = mark.ownerSVGElement.querySelector('[data-arm="' + key + '"][data-tip]');
      text = other && other.getAttribute("data-tip");
    }
    tip.hidden = !text;
    if (!text) { return; }
    tip.textContent = key ? nameOf(key) + ": " + text : text;
    var box = tip.getBoundingClientRect(), x = event.clientX + 14, y = event.clientY + 16;
    tip.style.left = Math.max(4, Math.min(x, innerWidth - box.width - 8)) + "px";
    tip.style.top = (y + box.height > innerHeight ? Math.max(4, event.clientY - box.height - 10) : y) + "px";
  }

  document.addEventListener("pointermove", function (event) {
    var mark = markAt(event);
    showTip(event, mark);
    highlight((mark && mark.getAttribute("data-arm")) || pinned);
  });
  document.addEventListener("pointerleave", function () { tip.hidden = true; highlight(pinned); });
  document.addEventListener("scroll", function () { tip.hidden = true; }, { passive: true, capture: true });
  document.addEventListener("click", function (event) {
    if (event.target.closest("a, button, input, summary, label")) { return; }
    var mark = markAt(event), key = mark && mark.getAttribute("data-arm");
    if (key) { pin(key); }
  });
  document.addEventListener("keydown", function (event) {
    if (event.key === "Escape") { tip.hidden = true; if (pinned) { pin(pinned); } }
  });
  bar.querySelector("button").addEventListener("click", function () { pin(pinned); });

  // The arms of the first table are buttons; one of them is a tab stop, and the arrow keys move to the others.
  var first = document.querySelector("table.sortable tr[data-arm]");
  var rows = first ? Array.prototype.slice.call(first.closest("tbody").rows) : [];
  rows.forEach(function (row, number) {
    var cell = row.cells[0], button = document.createElement("button");
    button.type = "button";
    button.className = "arm";
    button.tabIndex = number ? -1 : 0;
    button.setAttribute("aria-pressed", "false");
    while (cell.firstChild) { button.appendChild(cell.firstChild); }
    cell.appendChild(button);
    button.addEventListener("click", function () { pin(row.getAttribute("data-arm")); });
    button.addEventListener("focus", function () { highlight(row.getAttribute("data-arm")); });
    button.addEventListener("blur", function () { highlight(pinned); });
    button.addEventListener("keydown", function (event) {
      var step = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
      var next = step && row[step] && row[step].querySelector(".arm");
      if (!next) { return; }
      event.preventDefault();
      button.tabIndex = -1;
      next.tabIndex = 0;
      next.focus();
    });
  });
})();
