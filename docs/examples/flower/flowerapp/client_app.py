"""The ClientApp."""

from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from flowerapp.task import fit, load_data, loss_and_accuracy
from privcomp.integrations.flower import secagg_mod

app = ClientApp(mods=[secagg_mod])


@app.train()
def train(msg: Message, context: Context) -> Message:
    """Train the model on local data."""
    model = {name: array.numpy() for name, array in msg.content["arrays"].items()}
    x, y, _, _ = load_data(int(context.node_config["partition-id"]))
    fit(model, x, y, float(context.run_config["learning-rate"]))
    loss, _ = loss_and_accuracy(model, x, y)
    arrays = ArrayRecord({name: Array(array) for name, array in model.items()})
    metrics = MetricRecord({"train_loss": loss, "num-examples": len(x)})
    return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=msg)


@app.evaluate()
def evaluate(msg: Message, context: Context) -> Message:
    """Evaluate the model on local data."""
    model = {name: array.numpy() for name, array in msg.content["arrays"].items()}
    _, _, x, y = load_data(int(context.node_config["partition-id"]))
    loss, accuracy = loss_and_accuracy(model, x, y)
    metrics = MetricRecord({"eval_loss": loss, "eval_accuracy": accuracy, "num-examples": len(x)})
    return Message(RecordDict({"metrics": metrics}), reply_to=msg)
