%% How a suite begins and ends that kills on purpose: no reports on screen.

init_per_suite(Config) ->
    test_helpers:quiet(Config).

end_per_suite(Config) ->
    test_helpers:loud(Config).
