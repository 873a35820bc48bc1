"""gRPC, as ``proto/calyx/v1/inference.proto`` says it: the same generation core as the other protocols'."""
