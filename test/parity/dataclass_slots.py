"""Dataclasses with slots and keyword-only fields."""

import dataclasses


@dataclasses.dataclass(slots=True, kw_only=True)
class Job:
    name: str
    log: list = dataclasses.field(default_factory=list)


job = Job(name="a")
job.log.append(1)
print(job, Job.__slots__, Job(name="b").log)
try:
    job.other = 1
except AttributeError as error:
    print("AttributeError", "other" in str(error))
