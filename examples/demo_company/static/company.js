// Looks every 0.7 seconds whether something new arrived, and shows it. Without it, the pages have a link to look again.
const PAUSE = 700;

async function look(place) {
  const answer = await fetch(place.dataset.live, { headers: { Accept: "text/html" } });
  if (!answer.ok) return;
  const text = await answer.text();
  if (text === place.lastText) return;
  const held = document.activeElement?.id;
  place.innerHTML = text;
  place.lastText = text;
  // Whoever was on a button stays on it.
  if (held) document.getElementById(held)?.focus({ preventScroll: true });
}

for (const place of document.querySelectorAll("[data-live]")) {
  const turn = async () => {
    if (!document.hidden) await look(place).catch(() => {});
    if (!place.querySelector("[data-finished]")) setTimeout(turn, PAUSE);
  };
  setTimeout(turn, PAUSE);
}
