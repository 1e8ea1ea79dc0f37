// A server, an agent and their runs, on free ports. What was started here is ended here.

import { execFile, spawn } from "node:child_process";
import { mkdirSync } from "node:fs";
import { createInterface } from "node:readline";
import { promisify } from "node:util";

const bin = process.env.METRONOME_BIN;
export const work = process.env.WORK;
const execute = promisify(execFile);

/** Starts a program and resolves with it and its first line on standard output. */
function started(program, ...flags) {
  const child = spawn(`${bin}/${program}`, flags, { stdio: ["ignore", "pipe", "ignore"] });
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code) => reject(new Error(`${program} ended with ${code}`)));
    createInterface({ input: child.stdout }).once("line", (line) => resolve({ child, line }));
  });
}

export class System {
  /** A server with a history of its own, and an agent. */
  static async start({ flags = [], name = "a1", history = "runs" } = {}) {
    const system = new System();
    mkdirSync(work, { recursive: true });
    system.database = `${work}/${history}.sqlite`;
    await system.startServer(["--port", "0", "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", ...flags]);
    system.agent = (await started("metronome-agent", "--server", system.grpc, "--name", name)).child;
    return system;
  }

  async startServer(flags) {
    const { child, line } = await started("metronome-server", "--max-clients", "1100", "--database", this.database, ...flags);
    this.server = child;
    const [, grpc, data, http] = /grpc (\S+) data (\S+) http (\S+)/.exec(line);
    Object.assign(this, { grpc, data, http, base: `http://${http}` });
  }

  /** Ends the server and starts another one at the same addresses. */
  async restart() {
    await this.endServer();
    await this.startAgain();
  }

  /** Starts a server where the one that has ended was. */
  async startAgain() {
    await this.startServer(["--port", this.data.split(":")[1], "--grpc", this.grpc, "--http", this.http]);
  }

  /** What benchctl prints. A run that was late or did not hold is one, too. */
  async benchctl(...flags) {
    const run = execute(`${bin}/benchctl`, ["--server", this.grpc, "-q", ...flags], { maxBuffer: 1 << 28 });
    const { stdout } = await run.catch((error) => {
      if ([3, 4, 99].includes(error.code)) return error;
      throw new Error(`benchctl ${flags.join(" ")}: ${error.stderr}`);
    });
    return stdout;
  }

  /** The id of a run with these flags, which has ended. */
  async run(...flags) {
    return JSON.parse(await this.benchctl("start", "-o", "json", ...flags)).run_id;
  }

  async json(path) {
    return (await fetch(this.base + path)).json();
  }

  /** Ends the server, or the process that has taken over from it. */
  async endServer() {
    if (!this.successor) return ended(this.server);
    process.kill(this.successor, "SIGTERM");
    for (;;) {
      try {
        process.kill(this.successor, 0);
      } catch {
        break;
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    this.successor = undefined;
  }

  async stop() {
    if (this.agent) await ended(this.agent);
    if (this.server) await this.endServer();
  }
}

function ended(child) {
  if (child.exitCode !== null) return undefined;
  return new Promise((resolve) => {
    child.once("exit", resolve);
    child.kill("SIGTERM");
  });
}
