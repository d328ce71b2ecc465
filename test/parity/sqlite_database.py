"""A database in memory: tables, transactions, functions, adapters."""

import sqlite3

with sqlite3.connect(":memory:") as connection:
    connection.execute("create table item (name text primary key, price real)")
    connection.executemany("insert into item values (?, ?)", [("tea", 1.5), ("milk", 0.5)])
connection.create_function("twice", 1, lambda x: 2 * x)
connection.row_factory = sqlite3.Row
row = connection.execute(
    "select name, twice(price) as p from item where name = :n", {"n": "tea"}
).fetchone()
print(tuple(row), row["p"], row.keys())
try:
    with connection:
        connection.execute("insert into item values ('x', 1)")
        connection.execute("insert into item values ('tea', 1)")
except sqlite3.IntegrityError as error:
    print(error)
print(connection.execute("select count(*) from item").fetchone()[0])
connection.close()
