// A page hears its answers on one stream, which the server ends when nothing is pending. An event that joins just then
// is taken in, but Gradio opens no stream for it, since the last one seems open still: its answer waits for the next
// event, perhaps for ever. So where an event joined a stream that has ended since, one more event is sent.
(() => {
  const fetched = window.fetch;
  let open = false;
  let joined = false;
  const ended = () => {
    open = false;
    if (joined) document.querySelector('#nudge')?.click();
    joined = false;
  };
  window.fetch = async (...request) => {
    const address = String(request[0].url ?? request[0]);
    if (address.includes('/queue/data')) {
      open = true;
      (request[0].signal ?? request[1]?.signal)?.addEventListener('abort', ended);
    }
    const answer = await fetched(...request);
    if (address.includes('/queue/join')) joined ||= open;
    return answer;
  };
})();
