// Starts a run, watches it until packets are read, stops it, and prints what was counted at its end.
// Usage: go run . HOST:PORT. docs/api.md has how the package metronome/v1 is generated.
package main

import (
	"context"
	"fmt"
	v1 "metronome/v1"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/durationpb"
)

func must[T any](value T, err error) T {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return value
}

func main() {
	channel := must(grpc.NewClient(os.Args[1], grpc.WithTransportCredentials(insecure.NewCredentials())))
	runs, ctx := v1.NewRunServiceClient(channel), context.Background()
	constant := &v1.Profile_Constant{Constant: &v1.Constant{RateMillihertz: 100_000}}
	group := &v1.Group{Clients: 2, Profile: &v1.Profile{Shape: constant}}
	plan := &v1.Plan{Groups: []*v1.Group{group}, Duration: durationpb.New(time.Hour)}
	id := must(runs.StartRun(ctx, &v1.StartRunRequest{Plan: plan})).GetRun().GetRunId()
	events := must(runs.WatchEvents(ctx, &v1.WatchEventsRequest{Runs: &v1.WatchEventsRequest_RunId{RunId: id}}))
	for event := must(events.Recv()); event.GetRunEnded() == nil; event = must(events.Recv()) {
		if event.GetSnapshot().GetReceiver().GetReceived() > 0 {
			must(runs.StopRun(ctx, &v1.StopRunRequest{Runs: &v1.StopRunRequest_RunId{RunId: id}}))
		}
	}
	counts := must(runs.GetRun(ctx, &v1.GetRunRequest{Run: &v1.GetRunRequest_RunId{RunId: id}})).GetRun().GetReport().GetCounts()
	fmt.Printf("run %s sent %d received %d\n", id, counts.GetGenerator().GetSent(), counts.GetReceiver().GetReceived())
}
