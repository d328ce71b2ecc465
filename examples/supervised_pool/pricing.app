{application, pricing, [
    {description, "Prices, computed in Python"},
    {vsn, "1.0.0"},
    {modules, [pricing, pricing_app]},
    {registered, [pricing_sup]},
    {mod, {pricing_app, []}},
    {applications, [kernel, stdlib, py_context_router]}
]}.
