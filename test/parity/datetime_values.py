"""Dates, times, differences, zones, formats."""

import datetime

moment = datetime.datetime(2024, 2, 28, 23, 30, tzinfo=datetime.timezone.utc)
print(
    moment + datetime.timedelta(days=1, minutes=45),
    moment.isoformat(),
    moment.strftime("%a %d %b %Y %j"),
)
print(
    datetime.datetime.fromisoformat("2024-01-02T03:04:05+02:00").astimezone(datetime.timezone.utc)
)
print(datetime.date(2024, 3, 1) - datetime.date(2024, 2, 1), datetime.date.fromordinal(1).weekday())
print(repr(datetime.timedelta(hours=-1)), datetime.datetime.strptime("3 May 2021", "%d %B %Y"))
try:
    datetime.date(2023, 2, 29)
except ValueError as error:
    print(error)
