// Starts a run, watches it until packets are read, stops it, and prints what was counted at its end.
// Usage: node start_watch_stop.js HOST:PORT PROTOS, the folder proto/ of this repository, which is read at the start.
import { credentials, loadPackageDefinition } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

const [address, protos] = process.argv.slice(2);
const loaded = loadSync("metronome/v1/run_service.proto", { includeDirs: [protos], longs: Number, enums: String, oneofs: true });
const { RunService } = (loadPackageDefinition(loaded) as any).metronome.v1;
const runs = new RunService(address, credentials.createInsecure());

// A unary call as a promise.
function call(name: string, request: object): Promise<any> {
  return new Promise((resolve, reject) => {
    runs[name](request, (error: Error | null, response: object) => (error ? reject(error) : resolve(response)));
  });
}

async function main() {
  const profile = { constant: { rateMillihertz: 100_000 } };
  const plan = { groups: [{ clients: 2, profile }], duration: { seconds: 3600 } };
  const { runId } = (await call("startRun", { plan })).run;
  for await (const event of runs.watchEvents({ runId })) {
    if (event.snapshot?.receiver?.received) await call("stopRun", { runId });
    if (event.runEnded) {
      const { generator, receiver } = event.runEnded.report.counts;
      console.log("run", runId, "sent", generator.sent, "received", receiver.received);
    }
  }
  runs.close();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
