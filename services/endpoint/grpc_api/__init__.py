"""gRPC, as ``proto/calyx/v1/inference.proto`` says it: the same generation core as the other protocols'."""

import os

# Read when grpc is imported. The swarm's client forks processes that never speak gRPC: without this it would try to
# stop its threads for each of them, and log that it could not.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
