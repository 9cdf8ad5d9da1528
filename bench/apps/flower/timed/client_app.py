"""The ClientApp: with `secure = false` the same bundle without the mod."""

from __future__ import annotations

from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from timed import training


def mod(message: Message, context: Context, call_next: object) -> Message:
    """The mod of privcomp, or none."""
    if context.run_config["secure"]:
        from privcomp.integrations.flower import secagg_mod

        return secagg_mod(message, context, call_next)
    return call_next(message, context)


app = ClientApp(mods=[mod])


@app.train()
def train(msg: Message, context: Context) -> Message:
    """One step towards this site's optimum."""
    site = int(context.node_config["partition-id"])
    model = training.trained(site, msg.content["arrays"]["w"].numpy())
    arrays = ArrayRecord({"w": Array(model)})
    metrics = MetricRecord({"num-examples": training.weight(site)})
    return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=msg)
