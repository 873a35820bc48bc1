"""Chat with a pool's model over gRPC: list the models, then write an answer as it is generated.

pip install grpcio grpcio-tools
python -m grpc_tools.protoc --proto_path=proto --python_out=. --grpc_python_out=. proto/calyx/v1/inference.proto
python docs/examples/grpc_client.py "Name the capital of France."
"""

import sys

import grpc

from calyx.v1 import inference_pb2 as messages
from calyx.v1.inference_pb2_grpc import InferenceServiceStub

ADDRESS = "localhost:8001"


def main(text: str, address: str = ADDRESS) -> int:
    """Return the exit code."""
    with grpc.insecure_channel(address) as channel:
        endpoint = InferenceServiceStub(channel)
        try:
            for model in endpoint.ListModels(messages.ListModelsRequest(), timeout=10).models:
                print(
                    f"{model.name}: {model.problem or f'{model.memory_bytes / 1e6:.0f} MB in the endpoint'}"
                )
            request = messages.ChatRequest(
                messages=[messages.ChatMessage(role="user", content=text)],
                parameters={"do_sample": True, "temperature": 0.7, "seed": 1},
                stopping_parameters={"max_new_tokens": 40},
            )
            # Whoever leaves this loop early cancels the call, and the swarm stops generating
            for piece in endpoint.Chat(request, timeout=60):
                print(piece.text, end="", flush=True)
            print()
        except grpc.RpcError as error:
            print(f"{error.code().name}: {error.details()}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "Name the capital of France."))
