// A page hears its answers on one stream, which the server ends when nothing is pending. An event that joins just then
// is taken in, but Gradio opens no stream for it, since the last one seems open still: its answer would wait for the
// next event, perhaps for ever. So where a stream ends before all is answered, one more event is sent.
(() => {
  const fetched = window.fetch;
  const waiting = new Set();
  const early = new Set(); // answered before it was known that they had joined
  const move = (event, from, to) => from.delete(event) || to.add(event);
  const ended = () => {
    if (waiting.size) document.querySelector('#nudge')?.click();
    waiting.clear();
  };
  const overhearing = () => {
    const text = new TextDecoder();
    let rest = '';
    return new TransformStream({
      transform(chunk, stream) {
        const messages = (rest + text.decode(chunk, { stream: true })).split('\n\n');
        rest = messages.pop();
        for (const message of messages.map((line) => JSON.parse(line.slice('data: '.length)))) {
          if (message.msg === 'process_completed') move(message.event_id, waiting, early);
        }
        stream.enqueue(chunk);
      },
    });
  };
  window.fetch = async (...request) => {
    const address = String(request[0].url ?? request[0]);
    const answer = await fetched(...request);
    if (!answer.ok) return answer;
    if (address.includes('/queue/join')) move((await answer.clone().json()).event_id, early, waiting);
    if (!address.includes('/queue/data')) return answer;
    (request[0].signal ?? request[1]?.signal)?.addEventListener('abort', ended);
    return new Response(answer.body.pipeThrough(overhearing()), answer);
  };
})();
