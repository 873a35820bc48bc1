"""The seed's example of the Petals SDK, for a private swarm: ``client.py MODEL_FOLDER PREFIX PEER QUESTION``."""

import sys

from petals import AutoDistributedModelForCausalLM
from transformers import AutoTokenizer

model_name, dht_prefix, initial_peer, question = sys.argv[1:]

# Connect to a distributed network hosting model layers
tokenizer = AutoTokenizer.from_pretrained(model_name)
model = AutoDistributedModelForCausalLM.from_pretrained(
    model_name, initial_peers=[initial_peer], dht_prefix=dht_prefix
)

# Run the model as if it were on your computer
messages = [{"role": "user", "content": question}]
inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt")
outputs = model.generate(inputs, max_new_tokens=12)
print(tokenizer.decode(outputs[0, inputs.shape[1] :], skip_special_tokens=True))
