// For those who do not reach for the mouse: Escape stops the reply that is being written, Ctrl or Command with Shift and
// O starts a new conversation. After a new conversation, however it was started, the box is ready to be written in.
(() => {
  const PATIENCE = 5000; // milliseconds
  const press = (selector) => {
    const button = document.querySelector(selector);
    if (button?.offsetParent) button.click();
  };
  const ready = (until) => {
    const box = document.querySelector('#box textarea');
    if (box && !box.disabled) box.focus();
    else if (Date.now() < until) setTimeout(ready, 50, until);
  };
  document.addEventListener('keydown', (event) => {
    if (event.key === 'Escape') press('#box .stop-button');
    if ((event.ctrlKey || event.metaKey) && event.shiftKey && event.code === 'KeyO') {
      event.preventDefault();
      press('#anew');
    }
  });
  document.addEventListener('click', (event) => {
    if (event.target.closest?.('#anew, #temporary')) setTimeout(ready, 50, Date.now() + PATIENCE);
  });
})();
