"""Writes down what the simulator's server process receives: raw frames, and what the adapters are handed.

Installed in the simulator's own process (hook/sitecustomize.py); the sites are other programs and not touched.
"""

import pickle
import threading
from pathlib import Path


def install(folder):
    from nvflare.apis.impl.wf_comm_server import WFCommServer
    from nvflare.collab.runtime.cell_dispatcher import CellDispatcher
    from nvflare.fuel.f3.sfm.conn_manager import SfmFrameReceiver

    folder, lock = Path(folder), threading.Lock()

    def write(name, data):
        with lock, open(folder / name, "ab") as file:
            file.write(data)

    process_frame = SfmFrameReceiver.process_frame
    submission, call = WFCommServer.process_submission, CellDispatcher._call_target

    def frame_received(self, frame):
        write("frames", bytes(frame))
        return process_frame(self, frame)

    def task_submitted(self, client, task_name, task_id, result, fl_ctx):
        write("records", pickle.dumps((client.name, task_name, dict(result))))
        return submission(self, client, task_name, task_id, result, fl_ctx)

    def call_answered(self, context, target_name, call_opt, func_name, *args, **kwargs):
        result = call(self, context, target_name, call_opt, func_name, *args, **kwargs)
        write("records", pickle.dumps((target_name, func_name, result)))
        return result

    SfmFrameReceiver.process_frame = frame_received
    WFCommServer.process_submission = task_submitted
    CellDispatcher._call_target = call_answered


def records(folder):
    """(site, task or function, content) in the order of arrival."""
    out = []
    with open(Path(folder) / "records", "rb") as file:
        while True:
            try:
                out.append(pickle.load(file))
            except EOFError:
                return out
