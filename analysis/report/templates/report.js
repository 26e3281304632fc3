"use strict";
// Everything on the page is there without this script; it adds sorting and a switch of themes.
(function () {
  var status = document.getElementById("sorted");

  function keyOf(row, column) {
    return row.cells[column].getAttribute("data-sort") || "";
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
})();
