"""Calendars and the locale that a program begins with."""

import calendar
import locale

print(
    calendar.monthrange(2024, 2),
    calendar.TextCalendar().formatmonth(2024, 2).splitlines()[0].strip(),
)
print(locale.getlocale(locale.LC_NUMERIC), locale.format_string("%.2f", 1234.5, grouping=True))
