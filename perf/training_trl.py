"""The other side of `training_speed.py`: TRL's SFTTrainer and GRPOTrainer. `python training_trl.py TASK.json`.

Runs with the Python of an environment that has trl and not ra3. The trainers are TRL's own and run as they are; before
every optimiser step they wait for a line on standard input, and after it a line of JSON is printed.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback, TrainerCallback
from trl import GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer  # pyright: ignore[reportMissingImports]

Task = dict[str, Any]


class Turns(TrainerCallback):
    """Waits for its turn before every step and tells afterwards what the step took."""

    def __init__(self, answer: Any):
        self.answer, self.done = answer, {"tokens": 0.0, "samples": 0.0}

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        if not sys.stdin.readline():
            raise SystemExit
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        spent = {"wall_s": time.perf_counter() - self.wall, "cpu_s": time.process_time() - self.cpu}
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({**self.done, **spent, "peak_mib": peak}), file=self.answer, flush=True)
        self.done = dict.fromkeys(self.done, 0.0)


def trainer_settings(task: Task, folder: str) -> dict[str, Any]:
    """What both trainers are given: float32, no logging, no saving."""
    return {
        "output_dir": folder, "use_cpu": not torch.cuda.is_available(), "bf16": False, "max_steps": 10**6,
        "report_to": "none", "save_strategy": "no", "logging_strategy": "no", "disable_tqdm": True,
        "log_level": "error", "dataloader_pin_memory": False,
        "gradient_checkpointing": task.get("checkpointing", False),
    }  # fmt: skip


def sft(task: Task, turns: Turns, folder: str) -> SFTTrainer:
    """SFTTrainer with packing: bins of `bin_tokens`, `bins_at_once` a pass, `accumulate` passes a step."""
    config = SFTConfig(
        packing=True, packing_strategy=task["strategy"], max_length=task["bin_tokens"], learning_rate=1e-5,
        per_device_train_batch_size=task["bins_at_once"], gradient_accumulation_steps=task["accumulate"],
        **trainer_settings(task, folder),
    )  # fmt: skip
    documents = [ids for batch in task["batches"] for ids in batch]

    class Counting(SFTTrainer):
        def training_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            turns.done["tokens"] += float((inputs["labels"] != -100).sum())
            return super().training_step(model, inputs, *args, **kwargs)

    return Counting(
        model=AutoModelForCausalLM.from_pretrained(task["model"], dtype=torch.float32), args=config,
        train_dataset=Dataset.from_dict({"input_ids": documents}),
        processing_class=AutoTokenizer.from_pretrained(task["model"]),
    )  # fmt: skip


def grpo(task: Task, turns: Turns, folder: str) -> GRPOTrainer:
    """GRPOTrainer: one generation and one update per step, no reference model."""
    config = GRPOConfig(
        learning_rate=1e-6, num_generations=task["samples"], max_completion_length=task["max_new_tokens"], beta=0.0,
        per_device_train_batch_size=task["rows_at_once"], gradient_accumulation_steps=task["accumulate"],
        use_transformers_continuous_batching=task.get("continuous", False), **trainer_settings(task, folder),
    )  # fmt: skip

    def reward(completion_ids: list[list[int]], **_: Any) -> list[float]:
        turns.done["samples"] += len(completion_ids)
        turns.done["tokens"] += sum(map(len, completion_ids))
        return [sum(ids) % 7 / 7 for ids in completion_ids]

    return GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(task["model"], dtype=torch.float32), args=config,
        reward_funcs=reward, train_dataset=Dataset.from_dict({"prompt": task["texts"]}),
        processing_class=AutoTokenizer.from_pretrained(task["model"]),
    )  # fmt: skip


def main() -> None:
    """Reads the task and trains until standard input ends. Whatever the libraries print goes to standard error."""
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    task = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(task["threads"])
    turns = Turns(answer)
    with tempfile.TemporaryDirectory() as folder:
        trainer = {"mstep": sft, "rlvr": grpo}[task["kind"]](task, turns, folder)
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(turns)
        trainer.train()


if __name__ == "__main__":
    main()
