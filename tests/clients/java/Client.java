import inference.GRPCInferenceServiceGrpc;
import inference.OpenInference.*;
import io.grpc.*;
import io.grpc.netty.NettyChannelBuilder;
import io.grpc.stub.StreamObserver;
import java.nio.ByteOrder;
import java.util.concurrent.*;

/** Asks a server as an application would, and prints what came back, a line each. */
public class Client {
    static final float[] ROW = { 0.0137f, -0.1136f, 0.2553f, -0.0692f, 0.0582f, -0.0727f, -0.1583f, -0.0584f, 0.6283f, 0.4919f, 0.1856f, 0.0795f, -0.0332f };

    static ModelInferRequest request(String model, String id) {
        InferTensorContents.Builder contents = InferTensorContents.newBuilder();
        for (float x : ROW)
            contents.addFp32Contents(x);
        return ModelInferRequest.newBuilder().setModelName(model).setId(id).addInputs(ModelInferRequest.InferInputTensor.newBuilder()
            .setName("x").setDatatype("FP32").addShape(1).addShape(13).setContents(contents)).build();
    }

    public static void main(String[] args) throws Exception {
        ManagedChannel channel = NettyChannelBuilder.forTarget(args[0]).usePlaintext().build();
        GRPCInferenceServiceGrpc.GRPCInferenceServiceBlockingStub stub = GRPCInferenceServiceGrpc.newBlockingStub(channel).withDeadlineAfter(20, TimeUnit.SECONDS);
        System.out.println("live " + stub.serverLive(ServerLiveRequest.getDefaultInstance()).getLive());
        System.out.println("input " + stub.modelMetadata(ModelMetadataRequest.newBuilder().setName("uci").build()).getInputs(0).getName());
        ModelInferResponse reply = stub.modelInfer(request("uci", "seven"));
        float price = reply.getRawOutputContents(0).asReadOnlyByteBuffer().order(ByteOrder.LITTLE_ENDIAN).getFloat();
        System.out.printf("infer %.4f %s%n", price, reply.getId());
        System.out.println("gzip " + stub.withCompression("gzip").modelInfer(request("uci", "")).getOutputs(0).getName());
        try {
            stub.modelInfer(request("nope", ""));
        } catch (StatusRuntimeException e) {
            System.out.println("unknown " + e.getStatus().getCode());
        }
        CountDownLatch ended = new CountDownLatch(1);
        StringBuffer order = new StringBuffer();
        StreamObserver<ModelInferRequest> asks = GRPCInferenceServiceGrpc.newStub(channel).modelStreamInfer(new StreamObserver<ModelStreamInferResponse>() {
            public void onNext(ModelStreamInferResponse m) { order.append(m.getInferResponse().getId()).append(','); }
            public void onError(Throwable t) { order.append(t); ended.countDown(); }
            public void onCompleted() { ended.countDown(); }
        });
        for (int i = 0; i < 20; i++)
            asks.onNext(request("uci", Integer.toString(i)));
        asks.onCompleted();
        ended.await(20, TimeUnit.SECONDS);
        System.out.println("stream " + order);
        channel.shutdownNow().awaitTermination(5, TimeUnit.SECONDS);
    }
}
