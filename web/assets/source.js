// Where the views have their data from: the server, or the report that they stand in. Both have the
// same objects: those of `benchctl … -o json`.

/** The error of an answer that is none. */
export class Refused extends Error {}

async function json(path) {
	let answer;
	try {
		answer = await fetch(path, { headers: { accept: "application/json" }, cache: "no-store" });
	} catch {
		throw new Refused("The server does not answer.");
	}
	const body = await answer.json().catch(() => null);
	if (!answer.ok) {
		const { sentence, remedy } = body?.error ?? {};
		throw new Refused([sentence ?? `The server answered ${answer.status}.`, remedy].filter(Boolean).join(" "));
	}
	return { body, answer };
}

/** The page of a server. */
const server = {
	isReport: false,
	async runs(query) {
		const { body, answer } = await json(`/api/v1/runs?${new URLSearchParams(query)}`);
		const next = /<([^>]*)>; rel="next"/.exec(answer.headers.get("link") ?? "");
		const token = next ? new URL(next[1], location.href).searchParams.get("page_token") : null;
		return { ...body, next: token };
	},
	run: async (id) => (await json(`/api/v1/runs/${encodeURIComponent(id)}`)).body,
	series: async (id) => (await json(`/api/v1/runs/${encodeURIComponent(id)}/series`)).body,
	clients: async (id) => (await json(`/api/v1/runs/${encodeURIComponent(id)}/clients`)).body,
	server: async () => (await json("/api/v1/server")).body,
	agents: async () => (await json("/api/v1/agents")).body,
	/** The page that shows the trace of a run, where one is configured. */
	trace(id) {
		const base = document.querySelector("meta[name=metronome-traces]")?.content;
		const tags = JSON.stringify({ "metronome.run.id": id });
		return base ? `${base}/search?${new URLSearchParams({ service: "metronome-server", tags })}` : null;
	},
};

/** A report, with the runs and their series in `data`. */
function report(data) {
	const found = (id) => {
		const entry = data.runs.find(({ run }) => run.run_id === id);
		if (!entry) throw new Refused("This report does not have that run.");
		return entry;
	};
	return {
		isReport: true,
		madeAt: data.made_at,
		version: data.version,
		runs: async () => ({ runs: data.runs.map(({ run }) => run), unreadable_run_ids: [], next: null }),
		run: async (id) => found(id).run,
		series: (id) => found(id).series,
		clients: async (id) => found(id).run,
		trace: () => null,
	};
}

/** The source of this document. */
export async function openSource() {
	const block = document.getElementById("data");
	if (!block) return server;
	const packed = Uint8Array.from(atob(block.textContent.trim()), (character) => character.charCodeAt(0));
	const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
	return report(await new Response(stream).json());
}
