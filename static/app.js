// What htmx leaves open: where the keyboard is after a swap, and what a screen reader is told.
// No eval, no inline handler: it runs under `script-src 'self'`.

const FOCUSABLE = "a[href], button:not([disabled]), input:not([type=hidden]), select, textarea";
const byUser = new Set(["click", "submit", "change"]);
const trails = new WeakMap(); // swap → where the keyboard was; one for each, as a poll may come in between

function idsAround(element) {
  const ids = [];
  for (let node = element?.closest("[id]"); node; node = node.parentElement?.closest("[id]")) ids.push(node.id);
  return ids;
}

// Focus is lost when the focused element is swapped out, or (where buttons take no focus) never was.  What the
// person did may move it; what the page does by itself only puts it back where it took it away.
document.addEventListener("htmx:before:swap", (event) => {
  const { ctx, tasks } = event.detail;
  const swap = tasks.find((task) => task.type === "main");
  const region = typeof swap?.target === "string" ? document.querySelector(swap.target) : swap?.target;
  const active = document.activeElement;
  const own = byUser.has(ctx.sourceEvent?.type) && ctx.sourceEvent.isTrusted;
  const taken = region instanceof Element && active !== document.body && region.contains(active);
  if (taken) trails.set(swap, { own, ids: idsAround(active) });
  else if (swap && own && active === document.body) trails.set(swap, { own, ids: idsAround(ctx.sourceElement) });
});

document.addEventListener("htmx:after:settle", (event) => {
  announce(event.target);
  const trail = trails.get(event.detail.task);
  if (!trail) return;
  const wanted = trail.own && event.target.querySelector?.("[aria-invalid=true]");
  if (wanted) wanted.focus();
  else if (document.activeElement === document.body) focusBack(event.target, trail);
});

function focusBack(swapped, { own, ids }) {
  const wanted = own && swapped.querySelector?.("[autofocus]");
  const around = ids.map((id) => document.getElementById(id)).filter(Boolean);
  const takes = (node) => (node.id === "main" || node.matches(FOCUSABLE) ? node : node.querySelector(FOCUSABLE));
  (wanted || around.map(takes).find(Boolean) || document.getElementById("main")).focus();
}

// A fragment says `data-announce="Saved."` on any of its elements; the one polite live region repeats it.
function announce(swapped) {
  const speaker = swapped.matches?.("[data-announce]") ? swapped : swapped.querySelector?.("[data-announce]");
  if (speaker) document.getElementById("live").textContent = speaker.dataset.announce;
}

// A full page that came back with mistakes: the summary of them is read first.
document.getElementById("error-summary")?.focus();
