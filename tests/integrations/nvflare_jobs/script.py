"""A training script over NVFlare's client API, as unaware of privcomp as any."""

import argparse
import json
import sys

import nvflare.client as flare
from nvflare.client.tracking import SummaryWriter


def main():
    parser = argparse.ArgumentParser()
    for name in ("out", "code", "faults", "kind"):
        parser.add_argument(name)
    args = parser.parse_args()
    sys.path.append(args.code)
    from training import train

    flare.init()
    site, faults = flare.get_site_name(), json.loads(bytes.fromhex(args.faults))
    writer = SummaryWriter()
    while flare.is_running():
        model = flare.receive()
        if model is None:
            break
        number = model.current_round
        new, weight, metrics = train(args.out, site, number, model.params, faults.get(str(number), {}).get(site))
        writer.add_scalar("secret", metrics["secret"], global_step=number)
        if args.kind == "diff":
            new = {name: new[name] - model.params[name] for name in new}
        flare.send(
            flare.FLModel(
                params=new,
                params_type=flare.ParamsType.DIFF if args.kind == "diff" else flare.ParamsType.FULL,
                metrics=metrics,
                meta={"NUM_STEPS_CURRENT_ROUND": weight, "note": "a note of " + site},
            )
        )


if __name__ == "__main__":
    main()
