"""For each line `COUNT MINUTE EXPRESSION` the next COUNT minutes that match, or "never": the judge of cron.rs."""

import sys

from croniter import CroniterBadDateError, croniter

for line in sys.stdin:
    count, minute, expression = line.rstrip("\n").split(" ", 2)
    # A field that begins with a star restricts no day: Vixie's cron and crontab(5), which this calls a bug.
    matches = croniter(expression, int(minute) * 60, implement_cron_bug=True)
    try:
        print(*(int(matches.get_next(float)) // 60 for _ in range(int(count))))
    except CroniterBadDateError:
        print("never")
