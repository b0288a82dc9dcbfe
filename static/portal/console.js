// Keeps times current, refreshes in place, and looks after the cancel dialog. The pages work without it.
"use strict";

// --- Times -----------------------------------------------------------------------------------------------

const serverTime = document.querySelector('meta[name="server-time"]');
// What the server's clock is ahead of this one, so that a wrong clock here shows no wrong ages.
const aheadMs = serverTime ? Date.parse(serverTime.content) - Date.now() : 0;
const localTime = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });
const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];

function relativeWords(ms) {
  const seconds = Math.trunc(ms / 1000);
  const size = Math.abs(seconds);
  if (size < 5) return "just now";
  const [unit, length] = units.find(([, length]) => size >= length);
  const words = `${Math.floor(size / length)} ${unit}`;
  return seconds > 0 ? `${words} ago` : `in ${words}`;
}

function durationWords(ms) {
  const seconds = Math.max(0, Math.trunc(ms / 1000));
  const first = seconds < 60 ? 3 : units.findIndex(([, length]) => seconds >= length);
  const [unit, length] = units[first];
  const words = `${Math.floor(seconds / length)} ${unit}`;
  if (first === 3) return words;
  const [smallerUnit, smaller] = units[first + 1];
  const rest = Math.floor((seconds % length) / smaller);
  return rest ? `${words} ${rest} ${smallerUnit}` : words;
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function tick() {
  const now = Date.now() + aheadMs;
  for (const element of document.querySelectorAll("time.ago"))
    setText(element, relativeWords(now - Date.parse(element.dateTime)));
  for (const element of document.querySelectorAll(".elapsed"))
    setText(element, durationWords(now - Date.parse(element.dataset.since)));
  for (const element of document.querySelectorAll("time:not([data-local])")) {
    element.title = localTime.format(new Date(element.dateTime));
    element.dataset.local = "";
  }
}

tick();
setInterval(tick, 1000);

// --- Refresh in place --------------------------------------------------------------------------------------
// Nodes that did not change are kept: scroll, selection and focus stay where they are.

function sameThing(old, fresh) {
  return old.nodeType === fresh.nodeType && old.nodeName === fresh.nodeName && (old.id || "") === (fresh.id || "");
}

function morphChildren(old, fresh) {
  const named = new Map([...old.children].filter((child) => child.id).map((child) => [child.id, child]));
  let place = old.firstChild;
  for (const wanted of [...fresh.childNodes]) {
    const known = wanted.id ? named.get(wanted.id) : null;
    if (known && known !== place) old.insertBefore(known, place);
    const match = known || (place && sameThing(place, wanted) ? place : null);
    if (match) {
      place = match.nextSibling;
      morph(match, wanted);
    } else {
      old.insertBefore(wanted, place);
    }
  }
  while (place) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
}

function morph(old, fresh) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.data === fresh.data) return;
    // A log that grew keeps what is selected in it.
    if (fresh.data.startsWith(old.data)) old.appendData(fresh.data.slice(old.data.length));
    else old.data = fresh.data;
    return;
  }
  if (old.dataset.version && old.dataset.version === fresh.dataset.version) return;
  if (old.matches("time, .elapsed") && old.getAttribute("datetime") === fresh.getAttribute("datetime")
      && old.dataset.since === fresh.dataset.since) return;
  for (const { name } of [...old.attributes])
    if (!fresh.hasAttribute(name) && name !== "class") old.removeAttribute(name);
  for (const { name, value } of [...fresh.attributes])
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  const follows = old.matches(".log") && old.scrollTop + old.clientHeight >= old.scrollHeight - 4;
  morphChildren(old, fresh);
  if (follows) old.scrollTop = old.scrollHeight;
}

htmx.defineExtension("morph", {
  isInlineSwap: (style) => style === "morph",
  handleSwap(style, target, fragment) {
    if (style !== "morph") return false;
    const fresh = fragment.querySelector(`#${CSS.escape(target.id)}`);
    if (!fresh) return false;
    morph(target, fresh);
    tick();
    return [target];
  },
});

const connection = document.getElementById("connection");

function refreshes(event) {
  return event.detail.elt && event.detail.elt.matches('[hx-swap="morph"]');
}

// A page that nobody looks at asks nothing.
document.addEventListener("htmx:beforeRequest", (event) => {
  if (refreshes(event) && document.hidden) event.preventDefault();
});
document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  for (const element of document.querySelectorAll('[hx-swap="morph"]')) htmx.trigger(element, "refresh");
});
for (const failure of ["htmx:responseError", "htmx:sendError", "htmx:timeout"])
  document.addEventListener(failure, (event) => {
    if (refreshes(event)) connection.hidden = false;
  });
document.addEventListener("htmx:afterOnLoad", (event) => {
  if (refreshes(event) && event.detail.xhr.status < 300) connection.hidden = true;
});

// --- Cancel dialog and forms ----------------------------------------------------------------------------------

document.addEventListener("htmx:afterSwap", (event) => {
  const dialog = event.detail.target;
  if (dialog instanceof HTMLDialogElement && !dialog.open) dialog.showModal();
});
document.addEventListener("click", (event) => {
  const closing = event.target.closest("dialog [data-close]");
  if (!closing) return;
  event.preventDefault();
  closing.closest("dialog").close();
});
// A second click on the way sends nothing twice. Back in the history, the form is usable again.
document.addEventListener("submit", (event) => {
  if (!event.target.matches("form[data-once]")) return;
  const button = event.target.querySelector("button[type=submit]");
  setTimeout(() => { button.disabled = true; });
});
window.addEventListener("pageshow", () => {
  for (const button of document.querySelectorAll("form[data-once] button[type=submit]")) button.disabled = false;
});

for (const log of document.querySelectorAll(".log")) log.scrollTop = log.scrollHeight;
