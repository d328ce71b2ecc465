"""Zones by name, their offsets and folds."""

import datetime
import zoneinfo

try:
    zone = zoneinfo.ZoneInfo("Europe/Berlin")
    for month in (1, 7):
        moment = datetime.datetime(2024, month, 1, 12, tzinfo=zone)
        print(moment.isoformat(), moment.tzname(), moment.dst())
    print(datetime.datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=zone).utcoffset())
except zoneinfo.ZoneInfoNotFoundError:
    print("no time zones here")
try:
    zoneinfo.ZoneInfo("Nowhere/Else")
except zoneinfo.ZoneInfoNotFoundError as error:
    print(error)
