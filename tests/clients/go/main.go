// Asks a server in every call of the Open Inference Protocol that a client needs, and prints what came back, a line each.
package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"oar/clients/inference"
)

var row = []float32{0.0137, -0.1136, 0.2553, -0.0692, 0.0582, -0.0727, -0.1583, -0.0584, 0.6283, 0.4919, 0.1856, 0.0795, -0.0332}

func check(err error) {
	if err != nil {
		fmt.Println("failed:", err)
		os.Exit(1)
	}
}

func request(model string) *inference.ModelInferRequest {
	return &inference.ModelInferRequest{
		ModelName: model,
		Inputs: []*inference.ModelInferRequest_InferInputTensor{{
			Name: "x", Datatype: "FP32", Shape: []int64{1, 13},
			Contents: &inference.InferTensorContents{Fp32Contents: row},
		}},
	}
}

func price(raw []byte) float32 {
	return math.Float32frombits(uint32(raw[0]) | uint32(raw[1])<<8 | uint32(raw[2])<<16 | uint32(raw[3])<<24)
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	conn, err := grpc.DialContext(ctx, os.Args[1], grpc.WithInsecure(), grpc.WithBlock())
	check(err)
	c := inference.NewGRPCInferenceServiceClient(conn)
	live, err := c.ServerLive(ctx, &inference.ServerLiveRequest{})
	check(err)
	ready, err := c.ModelReady(ctx, &inference.ModelReadyRequest{Name: "uci"})
	check(err)
	meta, err := c.ModelMetadata(ctx, &inference.ModelMetadataRequest{Name: "uci"})
	check(err)
	fmt.Println("live", live.Live, "ready", ready.Ready, "inputs", meta.Inputs[0].Name, meta.Inputs[0].Shape)
	reply, err := c.ModelInfer(ctx, request("uci"))
	check(err)
	fmt.Printf("infer %.4f\n", price(reply.RawOutputContents[0]))
	_, err = c.ModelInfer(ctx, request("nope"))
	fmt.Println("unknown", status.Code(err) == codes.NotFound)
	late, stop := context.WithTimeout(ctx, time.Nanosecond)
	_, err = c.ModelInfer(late, request("uci"))
	stop()
	fmt.Println("late", status.Code(err) == codes.DeadlineExceeded)
	stream, err := c.ModelStreamInfer(ctx)
	check(err)
	for i := 0; i < 100; i++ {
		r := request("uci")
		r.Id = fmt.Sprint(i)
		check(stream.Send(r))
	}
	check(stream.CloseSend())
	for i := 0; i < 100; i++ {
		m, err := stream.Recv()
		check(err)
		if m.InferResponse.Id != fmt.Sprint(i) {
			fmt.Println("out of order")
		}
	}
	fmt.Println("stream 100")
	health, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: "uci"})
	check(err)
	fmt.Println("health", health.Status)
}
