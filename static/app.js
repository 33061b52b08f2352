// What htmx leaves open: where the keyboard is after a swap, and what a screen reader is told.
// No eval, no inline handler: it runs under `script-src 'self'`.

const FOCUSABLE = "a[href], button:not([disabled]), input:not([type=hidden]), select, textarea";
const byUser = new Set(["click", "submit", "change"]);
let trail = null; // ids around the element that asked, nearest first; null when focus is none of our business

function idsAround(element) {
  const ids = [];
  for (let node = element?.closest("[id]"); node; node = node.parentElement?.closest("[id]")) ids.push(node.id);
  return ids;
}

// Focus is lost when the focused element is swapped out, or (where buttons take no focus) never was.
document.addEventListener("htmx:before:swap", (event) => {
  const { sourceElement, sourceEvent, target } = event.detail.ctx;
  const active = document.activeElement;
  const region = typeof target === "string" ? document.querySelector(target) : target;
  const inside = region instanceof Element && active !== document.body && region.contains(active);
  const asked = active === document.body && byUser.has(sourceEvent?.type) && sourceEvent.isTrusted;
  trail = inside ? idsAround(active) : asked ? idsAround(sourceElement) : null;
});

document.addEventListener("htmx:after:settle", (event) => {
  announce(event.target);
  if (!trail) return;
  const invalid = event.target.querySelector?.("[aria-invalid=true]");
  if (invalid) invalid.focus();
  else if (document.activeElement === document.body) focusBack(event.target);
  trail = null;
});

function focusBack(swapped) {
  const wanted = swapped.querySelector?.("[autofocus]");
  const around = trail.map((id) => document.getElementById(id)).find(Boolean);
  const place = around ?? document.getElementById("main");
  const next = wanted ?? (place.id === "main" || place.matches(FOCUSABLE) ? place : place.querySelector(FOCUSABLE));
  (next ?? document.getElementById("main")).focus();
}

// A fragment says `data-announce="Saved."` on any of its elements; the one polite live region repeats it.
function announce(swapped) {
  const speaker = swapped.matches?.("[data-announce]") ? swapped : swapped.querySelector?.("[data-announce]");
  if (speaker) document.getElementById("live").textContent = speaker.dataset.announce;
}

// A full page that came back with mistakes: the summary of them is read first.
document.getElementById("error-summary")?.focus();
