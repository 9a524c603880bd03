"""Checks a machine before it runs anything: `examination` in the order of a run, `devices` its GPUs. Internal."""

from aira_bench.doctor.diagnosis import Diagnosis
from aira_bench.doctor.examination import channel_readings, examine

__all__ = ["Diagnosis", "channel_readings", "examine"]
