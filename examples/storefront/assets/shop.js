/* Everything works without this file; with it, some things need one press less. */

// A form that was sent is sent: the second press of an impatient finger does nothing.
for (const form of document.querySelectorAll('form[data-once]')) {
  form.addEventListener('submit', () => {
    // After this event, so that the button's own name and value still go along.
    setTimeout(() => {
      for (const button of form.querySelectorAll('button')) button.disabled = true;
    });
  });
}

// Coming back by the back button finds the buttons as they were meant.
addEventListener('pageshow', () => {
  for (const button of document.querySelectorAll('form[data-once] button')) button.disabled = false;
});

// Quantities in the cart count at once; the button is for those without this script.
for (const form of document.querySelectorAll('form[data-submit-on-change]')) {
  form.querySelector('button')?.setAttribute('hidden', '');
  form.addEventListener('change', () => form.reportValidity() && form.requestSubmit());
}

for (const button of document.querySelectorAll('[data-back]')) {
  button.hidden = false;
  button.addEventListener('click', () => history.back());
}

// An order was sent, and whatever came back was not a page of ours: whoever returns can ask what became of it.
const unheard = document.querySelector('[data-unheard]');
for (const form of document.querySelectorAll('form[data-order-form]')) {
  form.addEventListener('submit', () => sessionStorage.setItem('order sent', form.elements.requestId.value));
}
const sent = sessionStorage.getItem('order sent');
const outcome = document.querySelector('[data-outcome]');
const refused = location.pathname === '/checkout' && document.querySelector('.problem') && !outcome;
if (sent && (refused || document.querySelector('[data-order]'))) {
  sessionStorage.removeItem('order sent');
} else if (sent && unheard && !outcome) {
  unheard.querySelector('a').href = `/checkout/outcome/${encodeURIComponent(sent)}`;
  unheard.hidden = false;
}

// "One moment": look again by itself, less and less often, and not for ever.
const reloadMs = Number(document.body.dataset.reloadMs);
if (reloadMs > 0) {
  const key = `reloads ${location.pathname}`;
  const reloads = Number(sessionStorage.getItem(key) ?? 0);
  if (reloads < 6) {
    sessionStorage.setItem(key, String(reloads + 1));
    setTimeout(() => location.reload(), Math.min(reloadMs * 2 ** reloads, 15_000));
  }
} else {
  sessionStorage.removeItem(`reloads ${location.pathname}`);
}
