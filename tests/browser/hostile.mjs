// Answers of a server that means ill, or that knows nothing.

const isDocument = (url) => url.pathname.startsWith("/api/v1/") && !url.pathname.endsWith("/events");

/** Words that decide what is shown, and ids and instants, which lead somewhere. */
const KEPT = new Set(["status", "state", "shape", "role", "unit", "comparison", "relation", "time", "run_id"]);

function changed(value, change, key) {
  if (Array.isArray(value)) return value.map((of) => changed(of, change, key));
  if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([name, of]) => [name, changed(of, change, name)]));
  return change(value, key);
}

async function altered(page, change) {
  await page.route((url) => isDocument(url), async (route) => {
    const answer = await route.fetch();
    const json = await answer.json();
    await route.fulfill({ response: answer, json: changed(json, change) });
  });
}

/** Every text is one that would be a script, were it HTML. */
export function poisoned(page, evil) {
  return altered(page, (value, key) => (typeof value === "string" && !KEPT.has(key) ? `${evil}"'><script>hacked=1</script>javascript:hacked=1` : value));
}

/** Every figure and text that may be null is. */
export function nothing(page) {
  const needed = new Set([...KEPT, "from_s", "span_s", "clients", "name", "group", "schema_version", "real_time", "accept_raw", "version", "workers", "worker", "count", "law", "sentence", "min", "max", "duration_s", "packet_bytes", "batch", "threads", "cpu_s", "clients_per_row", "suite", "evil", "agent", "client"]);
  return altered(page, (value, key) => (needed.has(key) ? value : null));
}
