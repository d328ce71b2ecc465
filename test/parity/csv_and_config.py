"""Tables as CSV, and configuration files."""

import configparser
import csv
import io

out = io.StringIO()
writer = csv.DictWriter(out, ["a", "b"])
writer.writeheader()
writer.writerow({"a": 'x "y"', "b": "1,2"})
print(out.getvalue().splitlines(), list(csv.reader(["a;b"], delimiter=";")))
config = configparser.ConfigParser()
config.read_string("[server]\nport = 80\nurl = http://%(host)s\nhost = h\n")
print(config.getint("server", "port"), config["server"]["url"], config.has_option("server", "x"))
