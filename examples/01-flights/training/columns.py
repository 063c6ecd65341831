"""The columns of the flights data and what each is for; shared by preparation, training, scoring.

Not here, on purpose: `dep_delay`, `dep_time`, `air_time` and everything else that is known only
after the doors have closed (leaks), and calendar dates (a month is never seen twice in a year of
data, so a model can only memorise it).
"""

DAY_FILE = "day={day}.parquet"

ID = "flight_id"
TIME = "time"  # scheduled departure, UTC
LABEL = "late"  # 1: arrived more than LATE_MINUTES after schedule
LATE_MINUTES = 15

CATEGORICAL = ["carrier", "origin"]
INTEGERS = ["dep_hour", "dep_minute", "distance"]  # schedule, local time; miles
WEATHER = [  # at the origin, in the hour before the scheduled one; may be missing
    "temp",  # Fahrenheit
    "dewp",  # Fahrenheit
    "humid",  # per cent
    "wind_dir",  # degrees
    "wind_speed",  # miles per hour
    "precip",  # inches in the hour
    "pressure",  # millibars
    "visib",  # miles
]
INPUTS = [*CATEGORICAL, *INTEGERS, *WEATHER]  # what a request carries, in this order
